// `plan --with-containerd`: what becomes of this node's registries when another containerd starts on its files, before
// somebody upgrades. Nothing is written: that containerd loads copies, as they are now and as `apply` would leave them.
import { ignoredTables } from '../../containerd/config/ignored.ts'
import { readContainerdConfig } from '../../containerd/config/read.ts'
import { parseContainerdVersion } from '../../containerd/config/schema-version.ts'
import { type Defect, defectsOf } from '../../containerd/defects.ts'
import { type DesiredState, nothingDesired } from '../../model/desired-state.ts'
import { AgentError, type Problem } from '../../model/errors.ts'
import { type ContainerdFacts, NO_RUNTIME } from '../../model/observed-state.ts'
import type { Change, Rehearsal } from '../../model/plan.ts'
import type { RunOptions } from '../../model/run.ts'
import type { RunPorts } from '../../model/run-ports.ts'
import { EMPTY_STATE } from '../../model/state.ts'
import { observeContainerd, observeWithoutRuntime } from '../observe/containerd.ts'
import { rehearse } from '../rehearse/rehearse.ts'
import { makePlan } from './planning.ts'

export type AnotherContainerd = {
  readonly version: string
  readonly binary: string
  /** The files as they are now. */
  readonly now: Rehearsal
  /** Tables of config.toml that it ignores. */
  readonly ignored: readonly { readonly table: string; readonly reason: string }[]
  readonly defects: readonly Defect[]
  /** What `apply` would change for it, and what comes of that. */
  readonly changes: readonly Change[]
  readonly problems: readonly Problem[]
  readonly afterwards: Rehearsal
}

/** `binary`: path on the node. Throws AgentError where it cannot be run, or this node's own containerd not be found. */
export async function planWithContainerd(
  binary: string,
  desired: DesiredState,
  options: RunOptions,
  ports: RunPorts,
): Promise<AnotherContainerd> {
  const version = await ports.runner.version(ports.files.hostPath(binary))
  const facts = asAnother(await lookAtThisNode(desired, options, ports), version)
  const untouched = await makePlan({ desired: nothingDesired(desired), state: EMPTY_STATE, facts }, ports)
  const planned = await makePlan({ desired, state: await ports.store.load(), facts }, ports)
  const how = { always: true, binary }
  return {
    version,
    binary,
    now: await rehearse(desired, facts, untouched, ports, options.signal, how),
    ignored: ignoredIn(facts),
    defects: defectsOf(version),
    changes: planned.plan.changes,
    problems: planned.plan.problems,
    afterwards: await rehearse(desired, facts, planned, ports, options.signal, how),
  }
}

async function lookAtThisNode(
  desired: DesiredState,
  { address }: RunOptions,
  ports: RunPorts,
): Promise<ContainerdFacts> {
  const { unit } = desired.restart
  if (address === NO_RUNTIME) return await observeWithoutRuntime(unit, ports)
  const seen = await observeContainerd({ address, unit }, ports)
  if (seen.state === 'down') return await observeWithoutRuntime(unit, ports)
  seen.cri.close()
  return seen.facts
}

/** What the running daemon has loaded says nothing of the other one. */
function asAnother(facts: ContainerdFacts, version: string): ContainerdFacts {
  return { ...facts, version, status: { runtimeReady: false, networkReady: false }, missingSandboxImage: undefined }
}

function ignoredIn({ config, configFile, version }: ContainerdFacts): AnotherContainerd['ignored'] {
  if (config.kind !== 'file') return []
  try {
    const parsed = parseContainerdVersion(version)
    return parsed === undefined ? [] : ignoredTables(readContainerdConfig(config.bytes, { path: configFile }), parsed)
  } catch (thrown) {
    // The rehearsal says it in that containerd's own words.
    if (thrown instanceof AgentError) return []
    throw thrown
  }
}
