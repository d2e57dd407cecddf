// The rehearsal: a private copy of the node's own containerd loads the candidate configuration and pulls through the
// candidate host directories, before anything on the node changes.

import { rehearsalConfig } from '../../containerd/config/rehearsal.ts'
import { layoutNamed } from '../../containerd/layouts.ts'
import { atMost } from '../../model/at-most.ts'
import type { DesiredState } from '../../model/desired-state.ts'
import { AgentError, asAgentError } from '../../model/errors.ts'
import { isRuntimeFinding } from '../../model/finding.ts'
import type { ContainerdFacts } from '../../model/observed-state.ts'
import type { Planned, Rehearsal, RehearsedProof } from '../../model/plan.ts'
import type { NodeFiles, RehearsalDaemon, RehearsalScratch } from '../../model/ports.ts'
import type { RehearsePorts } from '../../model/run-ports.ts'
import { namesReadByContainerd } from '../../targets/targets.ts'
import { usualBinary } from '../observe/binary.ts'
import { MOST_PROOFS_AT_ONCE, proveByProbe } from '../prove/pull.ts'

const START_DEADLINE_MS = 15_000
const PROOF_DEADLINE_MS = 5_000
/**
 * containerd holds a connection and its own set of roots for every registry it was asked about, for half a minute: with
 * a thousand of them a single copy grew to 200 MiB, within the limit of the agent's own container.
 */
const MOST_ASKED_OF_ONE_COPY = 250
/** Where the copy has to behave like the daemon: proxies and the roots that Go reads. */
const INHERITED = /^(https?_proxy|no_proxy|all_proxy|ssl_cert_file|ssl_cert_dir)$/i

/** What the unit starts, where that is containerd. */
function programOf({ unit, layout }: ContainerdFacts): string | undefined {
  return layoutNamed(layout)?.binaries === undefined ? unit?.execStart[0] : undefined
}

export async function rehearse(...request: Parameters<typeof rehearseOnce>): Promise<Rehearsal> {
  const first = await rehearseOnce(...request)
  if (!didCopyEnd(first)) return first
  // On a machine without memory to spare the kernel may have ended it: that says nothing about the candidate.
  const second = await rehearseOnce(...request)
  if (!didCopyEnd(second)) return second
  return { verdict: 'not-rehearsed', reason: 'the private copy of containerd ended twice while it was asked' }
}

function didCopyEnd(rehearsal: Rehearsal): boolean {
  return rehearsal.verdict === 'passed' && rehearsal.proofs.some(({ finding }) => isRuntimeFinding(finding))
}

async function rehearseOnce(
  desired: DesiredState,
  facts: ContainerdFacts,
  planned: Planned,
  { files, runner, clock, targets }: RehearsePorts,
  signal?: AbortSignal,
  { always, binary: given }: { readonly always: boolean; readonly binary?: string } = { always: false },
): Promise<Rehearsal> {
  const read = namesReadByContainerd(targets)
  const touchesContainerd = planned.plan.changes.some(({ target }) => read.has(target))
  if (!always && !touchesContainerd && !planned.plan.restart.required)
    return { verdict: 'not-needed', reason: 'nothing that containerd reads would change' }
  const known = given ?? facts.process?.executable ?? facts.ownBinary ?? programOf(facts)
  const binary = known ?? (await usualBinary(files))
  if (binary === undefined)
    return {
      verdict: 'not-rehearsed',
      reason: "containerd's own binary is not known: neither its process nor its unit can be seen",
    }
  const began = clock.monotonic()
  const durationMs = () => Math.round(clock.monotonic() - began)
  const scratch = await runner.scratch().catch(asAgentError)
  if (scratch instanceof AgentError) return { verdict: 'not-rehearsed', reason: scratch.message }
  try {
    await writeCandidate(scratch, planned, facts, files)
    const environment = facts.process?.environment ?? facts.unit?.environment ?? {}
    const start = () =>
      runner.start({
        binary: files.hostPath(binary),
        scratch,
        environment: Object.fromEntries(Object.entries(environment).filter(([name]) => INHERITED.test(name))),
        timeoutMs: START_DEADLINE_MS,
        signal,
      })
    const proofs: RehearsedProof[] = []
    for (const registries of groupsOf(MOST_ASKED_OF_ONE_COPY, desired.registries)) {
      const asked = await askCopy(registries, await start(), facts.version, {
        clock,
        timeoutMs: PROOF_DEADLINE_MS,
        signal,
      })
      if (!asked.started) return { verdict: 'failed', reason: asked.reason, durationMs: durationMs(), proofs: [] }
      if (asked.version !== facts.version)
        return {
          verdict: 'not-rehearsed',
          reason: `${binary} is version ${asked.version}, the running daemon is ${facts.version}`,
        }
      proofs.push(...asked.proofs)
    }
    return { verdict: 'passed', durationMs: durationMs(), proofs }
  } catch (thrown) {
    return { verdict: 'not-rehearsed', reason: asAgentError(thrown).message }
  } finally {
    await scratch.dispose()
  }
}

/** What the plan would write lies in the scratch folder; everything else where the agent sees it. */
async function writeCandidate(
  scratch: RehearsalScratch,
  planned: Planned,
  facts: ContainerdFacts,
  files: Pick<NodeFiles, 'hostPath'>,
): Promise<void> {
  const staged = new Map(planned.legacyFiles?.map(({ path }, index) => [path, `legacy/${index}`]))
  const candidate = await rehearsalConfig(planned.candidateConfig, {
    containerdVersion: facts.version,
    configFile: facts.configFile,
    imports: facts.imports,
    unloadable: facts.unloadableImports,
    scratch: scratch.folder,
    certsDirectory: planned.plan.certsDirectory === undefined ? undefined : `${scratch.folder}/certs.d`,
    legacyFile(path) {
      const copy = staged.get(path)
      return copy === undefined ? files.hostPath(path) : `${scratch.folder}/${copy}`
    },
  })
  for (const { relativePath, bytes } of candidate) await scratch.write(relativePath, bytes)
  for (const { path, bytes } of planned.legacyFiles ?? []) await scratch.write(staged.get(path) ?? '', bytes)
  for (const { path, bytes } of planned.stagedHosts) await scratch.write(`certs.d/${path}`, bytes)
}

/** One, empty, where there is nothing: the configuration is loaded all the same. */
function groupsOf<T>(size: number, items: readonly T[]): readonly (readonly T[])[] {
  const count = Math.max(1, Math.ceil(items.length / size))
  return Array.from({ length: count }, (_, index) => items.slice(index * size, (index + 1) * size))
}

type Asked =
  | { readonly started: false; readonly reason: string }
  | { readonly started: true; readonly version: string; readonly proofs: readonly RehearsedProof[] }

/** Nothing is asked of another version than the node's. Ends the copy in every case. */
async function askCopy(
  registries: DesiredState['registries'],
  daemon: RehearsalDaemon,
  expected: string,
  options: Parameters<typeof proveByProbe>[2],
): Promise<Asked> {
  if (!daemon.started) return daemon
  try {
    const { runtimeVersion } = await daemon.cri.version({ timeoutMs: options.timeoutMs })
    if (runtimeVersion !== expected) return { started: true, version: runtimeVersion, proofs: [] }
    const proofs = await atMost(MOST_PROOFS_AT_ONCE, registries, async (registry) => {
      const { host, finding, durationMs } = await proveByProbe(registry, daemon.cri, options)
      return { host, finding, durationMs }
    })
    return { started: true, version: runtimeVersion, proofs }
  } finally {
    await daemon.stop()
  }
}
