// What a run does more on a node whose runtime is CRI-O: its folders are wanted, its own pulls prove the registries, and
// mirrors that it has not read yet are reported. CRI-O reads host folders at each connection, so nothing of it is
// restarted.
import type { DesiredState, Registry } from '../../model/desired-state.ts'
import { type Problem, problem } from '../../model/errors.ts'
import { breaksTrust, provesTrust } from '../../model/finding.ts'
import type { OtherRuntime } from '../../model/observed-state.ts'
import type { Plan } from '../../model/plan.ts'
import type { CriClient } from '../../model/ports.ts'
import type { ProofResult } from '../../model/proof.ts'
import { runtimeNamed } from '../../model/run.ts'
import type { RunPorts } from '../../model/run-ports.ts'
import type { AgentState } from '../../model/state.ts'
import { MIRRORS_FILE } from '../../targets/certs-d/observe-mirrors.ts'
import { proveDeclared } from '../prove/prove.ts'
import { proveRegistries } from '../prove/pull.ts'

/** As before every change: what answers quickly, and nothing is downloaded. */
const BEFORE_DEADLINE_MS = 2_000

/**
 * /etc/containers is what the node pulls by: where it cannot be written, that is reported as if it were enabled
 * explicitly.
 */
export function desiredOnCrio(desired: DesiredState): DesiredState {
  const { targets } = desired
  if (targets.containers.enabled !== 'auto') return desired
  return { ...desired, targets: { ...targets, containers: { ...targets.containers, enabled: 'on' } } }
}

/** As each registry asks for: by a pull of the runtime, or by a handshake. */
export async function proveByRuntime(
  registries: readonly Registry[],
  runtime: OtherRuntime,
  desired: DesiredState,
  ports: RunPorts,
): Promise<readonly ProofResult[]> {
  return await withRuntime(runtime, ports, (cri) =>
    proveDeclared(registries, cri, ports, desired, runtimeNamed({ runtime })),
  )
}

/** Hosts of registries that the runtime trusts now. */
export async function trustedNow(
  { registries }: DesiredState,
  known: ReadonlyMap<string, ProofResult>,
  runtime: OtherRuntime,
  ports: RunPorts,
): Promise<ReadonlySet<string>> {
  const unknown = registries
    .filter(({ host }) => !known.has(host))
    .map(({ proof: { image: _, ...proof }, ...registry }) => ({
      ...registry,
      proof: { ...proof, level: 'manifest' as const },
    }))
  const options = { clock: ports.clock, timeoutMs: BEFORE_DEADLINE_MS }
  const fresh = await withRuntime(runtime, ports, (cri) => proveRegistries(unknown, cri, options))
  return new Set([...known.values(), ...fresh].filter(({ finding }) => provesTrust(finding.code)).map(hostOf))
}

/** Those that were trusted before a change and are not after it. */
export function lostBy(proofs: readonly ProofResult[], before: ReadonlySet<string>): readonly ProofResult[] {
  return proofs.filter(({ host, finding }) => before.has(host) && breaksTrust(finding.code))
}

const CONTAINERD_ALONE = ['clientCertificate', 'extra', 'headers', 'plainHttp', 'skipVerify'] as const

/** What is declared and has no place in what the agent writes for CRI-O: reported, because pulls go without it. */
export function inexpressible({ registries, wildcard }: DesiredState): readonly Problem[] {
  const keys = registries.flatMap((registry) => {
    const asked = CONTAINERD_ALONE.filter((key) => registry[key] !== undefined && registry[key] !== false)
    return asked.length === 0 ? [] : [`${asked.join(', ')} of ${registry.host}`]
  })
  const all = wildcard === undefined ? keys : [...keys, 'the registry "*"']
  return all.map((what) =>
    problem('CONFIG_NOT_SUPPORTED_YET', `${what} cannot be configured for CRI-O: only containerd uses it`),
  )
}

/**
 * Mirrors take effect when CRI-O reads its registries.conf again, at its start or by a signal; nothing else waits for
 * it. Undefined: it has read them, reads them by itself, or there are none of ours.
 */
export async function unreadMirrors(
  { readAt, reloadsItself }: OtherRuntime,
  { changes }: Pick<Plan, 'changes'>,
  { owned }: AgentState,
  { files }: Pick<RunPorts, 'files'>,
): Promise<Problem | undefined> {
  if (reloadsItself) return undefined
  const until = 'until then it asks as it did before'
  if (changes.some(({ path }) => path === MIRRORS_FILE))
    return problem(
      'RELOAD_PENDING',
      `${MIRRORS_FILE} is changed by this plan, and CRI-O has to read it again; ${until}`,
    )
  const file = owned[MIRRORS_FILE] === undefined ? undefined : await files.read(MIRRORS_FILE)
  if (file?.kind !== 'file' || (readAt !== undefined && file.mtimeMs <= readAt)) return undefined
  const read = readAt === undefined ? 'cannot be seen from this Pod' : `was last seen at ${at(readAt)}`
  const text = `${MIRRORS_FILE} changed at ${at(file.mtimeMs)}; when CRI-O read it ${read}; ${until}`
  return problem('RELOAD_PENDING', text)
}

function at(ms: number): string {
  return new Date(ms).toISOString()
}

async function withRuntime<Result>(
  { socket }: OtherRuntime,
  { connectCri }: Pick<RunPorts, 'connectCri'>,
  work: (cri: CriClient) => Promise<Result>,
): Promise<Result> {
  const cri = connectCri(socket)
  try {
    return await work(cri)
  } finally {
    cri.close()
  }
}

function hostOf({ host }: ProofResult): string {
  return host
}
