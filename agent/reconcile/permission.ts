// Whether containerd may be restarted now: everything that speaks against it, asked before anything is written.
import { asAgentError } from '../model/errors.ts'
import type { Rehearsal } from '../model/plan.ts'
import type { Context } from './apply.ts'
import { chooseRestart, type RestartWay, type RuntimeBefore, rememberRuntime } from './restart.ts'

const HOUR_MS = 3_600_000

export type Permission =
  | { readonly allowed: true; readonly way: RestartWay; readonly before: RuntimeBefore; release(): Promise<void> }
  | { readonly allowed: false; readonly reason: string }

export async function mayRestart(context: Context, rehearsal: Rehearsal, reason: string): Promise<Permission> {
  const { desired, facts, cri, options, ports } = context
  const no = (why: string): Permission => ({ allowed: false, reason: why })
  const way = await chooseRestart(desired.restart, facts, ports)
  if (way.kind === 'none') return no(way.reason)
  if (rehearsal.verdict === 'not-rehearsed' && !options.consentUnrehearsed)
    return no(`the candidate could not be rehearsed (${rehearsal.reason}); --consent-unrehearsed allows the restart without`)
  const overBudget = budgetReason(context)
  if (overBudget !== undefined) return no(overBudget)
  const permit = await ports.permit.ask({ reason })
  if (!permit.granted) return no(permit.reason)
  try {
    return { allowed: true, way, before: await rememberRuntime(cri, facts.status), release: () => permit.release() }
  } catch (thrown) {
    await permit.release()
    return no(`the running containers can not be listed: ${asAgentError(thrown).message}`)
  }
}

function budgetReason({ desired, state, options, ports }: Context): string | undefined {
  if (options.byHand) return undefined
  const since = ports.clock.now() - HOUR_MS
  const recent = state.transactions.filter(({ restarted, at }) => restarted && Date.parse(at) > since)
  if (recent.length < desired.restart.maxPerHour) return undefined
  return `containerd was restarted ${recent.length} times within the last hour (restart.budget.maxPerHour)`
}
