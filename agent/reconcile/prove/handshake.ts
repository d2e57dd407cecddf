// What can be said of a registry without a pull: a handshake of the agent's own, judged as containerd would judge it. For the
// proof level `tls`, and as the weaker check where the node's containerd cannot be rehearsed.
import type { DesiredState, Registry } from '../../model/desired-state.ts'
import type { Clock, NodeFiles, TlsProbe } from '../../model/ports.ts'
import { proveTls, trustFor } from '../../probe/probe.ts'
import { readSystemRoots } from '../observe/system-roots.ts'
import type { ProofResult } from './pull.ts'

const HANDSHAKE_MS = 5_000

export type TlsProofPorts = { readonly tls: TlsProbe; readonly clock: Clock; readonly files: NodeFiles }

export async function proveByHandshake(
  registries: readonly Registry[],
  desired: DesiredState,
  { tls, clock, files }: TlsProofPorts,
): Promise<readonly ProofResult[]> {
  if (registries.length === 0) return []
  const system = await readSystemRoots(files)
  return Promise.all(
    registries.map((registry) =>
      proveTls(registry, trustFor(registry.host, desired, system).roots, { tls, clock }, { timeoutMs: HANDSHAKE_MS }),
    ),
  )
}
