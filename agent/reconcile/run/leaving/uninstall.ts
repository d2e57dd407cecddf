import { type DesiredState, nothingDesired } from '../../../model/desired-state.ts'
import type { Change } from '../../../model/plan.ts'
import type { Context, Run, RunOptions } from '../../../model/run.ts'
import type { RunPorts } from '../../../model/run-ports.ts'
import { rehearse } from '../../rehearse/rehearse.ts'
import { Transaction } from '../../transaction/transaction.ts'
import { carryOut } from '../carry-out.ts'
import { orFailed, planningAnew, withNode } from '../entry.ts'
import { applyFilesAlone } from '../files-alone.ts'
import { makePlan } from '../planning.ts'
import { planConfigRemoval } from './config-removal.ts'

const STATE_STAYS: readonly Run['outcome'][] = ['refused', 'rolled-back', 'rollback-failed', 'failed', 'no-containerd']

export async function uninstallRun(
  configured: DesiredState | undefined,
  options: RunOptions,
  ports: RunPorts,
): Promise<Run> {
  const once = () =>
    withNode(nothingDesired(configured), options, ports, removeEverything, {
      isLast: isNothingLeft,
      alone: applyFilesAlone,
      ...(configured === undefined ? {} : { adoptFor: configured }),
    })
  return orFailed(() => planningAnew(once), options, ports)
}

function isNothingLeft({ outcome, state: { owned, unrestored = [] } }: Run): boolean {
  return !STATE_STAYS.includes(outcome) && Object.keys(owned).length === 0 && unrestored.length === 0
}

async function removeEverything(context: Context): Promise<Run> {
  const { desired, state, facts, options, ports } = context
  const planned = await makePlan({ desired, state, facts }, ports)
  // What gives the sandbox image back while config_path stays: the whole file goes back where that can go too.
  const isPart = ({ path, owns }: Change) => path === facts.configFile && owns.length > 0
  const others = planned.plan.changes.filter((change) => !isPart(change))
  const config = await planConfigRemoval(context, planned.plan.certsDirectory, others)
  const changes = config.changes.length > 0 ? [...others, ...config.changes] : planned.plan.changes
  const problems = [...planned.plan.problems, ...config.problems]
  const restart = planned.plan.restart.required
    ? planned.plan.restart
    : {
        required: config.changes.length > 0,
        reason: `${facts.configFile} is put back, and containerd reads that file only when it starts`,
      }
  const plan = { ...planned.plan, changes, problems, restart }
  const candidate = config.changes.length > 0 ? config.candidate : planned.candidateConfig
  const whole = { ...planned, plan, candidateConfig: candidate }
  const base = { state, facts, planned: whole, problems }
  if (changes.length === 0) return { ...base, outcome: 'unchanged', proofs: [], applied: [], restarts: [] }
  const rehearsal = await rehearse(desired, facts, whole, ports, options.signal)
  return carryOut(changes, restart, {
    ...context,
    planned: whole,
    rehearsal,
    before: new Map(),
    problems,
    transaction: new Transaction(state, desired.generation, ports),
    startedAt: ports.clock.monotonic(),
    isRemoval: true,
  })
}
