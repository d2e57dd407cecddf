// What can be said of a registry without a pull: a handshake of the agent's own, judged as containerd would judge it.
// For the proof level `tls`, and as the weaker check where the node's containerd cannot be rehearsed.
import { atMost } from '../../model/at-most.ts'
import type { DesiredState, Registry } from '../../model/desired-state.ts'
import type { Clock, NodeFiles, TlsProbe } from '../../model/ports.ts'
import type { ProofResult } from '../../model/proof.ts'
import type { TrustedRoot } from '../../pki/chain/roots.ts'
import { inspectServer, type ProbeOptions, type ProbePorts } from '../../probe/handshake.ts'
import { trustFor } from '../../probe/probe.ts'
import { readSystemRoots } from '../observe/system-roots.ts'
import { MOST_PROOFS_AT_ONCE } from './pull.ts'

const HANDSHAKE_MS = 5_000

export type TlsProofPorts = { readonly tls: TlsProbe; readonly clock: Clock; readonly files: NodeFiles }

export async function proveByHandshake(
  registries: readonly Registry[],
  desired: DesiredState,
  { tls, clock, files }: TlsProofPorts,
): Promise<readonly ProofResult[]> {
  if (registries.length === 0) return []
  const system = await readSystemRoots(files)
  return await atMost(MOST_PROOFS_AT_ONCE, registries, (registry) =>
    proveTls(registry, trustFor(registry.host, desired, system).roots, { tls, clock }, { timeoutMs: HANDSHAKE_MS }),
  )
}

/**
 * Proof level `tls`: a handshake verified with exactly the declared anchors (with the node's store where none is
 * declared). The weaker
 * check too, where the rehearsal cannot run: hand in what containerd would trust.
 */
export async function proveTls(
  registry: Registry,
  roots: readonly TrustedRoot[],
  ports: ProbePorts,
  options: ProbeOptions,
): Promise<ProofResult> {
  const { clock } = ports
  const [at, began] = [new Date(clock.now()).toISOString(), clock.monotonic()]
  const { verdict } = await inspectServer(registry.host, { isDeclared: true, roots, otherAnchors: [] }, ports, options)
  return {
    host: registry.host,
    level: 'tls',
    by: 'tls',
    reference: registry.host,
    finding: verdict,
    at,
    durationMs: Math.round(clock.monotonic() - began),
  }
}
