// Proves declared registries as each of them asks for: by a pull of containerd, with credentials where they are declared, or by a
// handshake of the agent's own.
// This room: proving that a registry is trusted: by a pull of containerd, or by a handshake.
// Begin here; then pull.ts, then login.ts (with whose credentials).
// May touch: the CRI socket and the network; never a file.
import type { DesiredState, Registry } from '../../model/desired-state.ts'
import type { Clock, CriClient } from '../../model/ports.ts'
import type { ProofResult } from '../../model/proof.ts'
import type { LoginDesk } from '../../model/run-ports.ts'
import { proveByHandshake, type TlsProofPorts } from './handshake.ts'
import { PROOF_DEADLINE_MS, proveRegistries } from './pull.ts'

export type ProofPorts = TlsProofPorts & { readonly clock: Clock; readonly logins?: LoginDesk }

export async function proveDeclared(
  registries: readonly Registry[],
  cri: CriClient,
  ports: ProofPorts,
  desired: DesiredState,
): Promise<readonly ProofResult[]> {
  const byHandshake = registries.filter(({ proof }) => proof.level === 'tls')
  const byPull = registries.filter(({ proof }) => proof.level !== 'tls')
  const { clock, logins } = ports
  const proofs = await Promise.all([
    proveRegistries(byPull, cri, { clock, timeoutMs: PROOF_DEADLINE_MS, login: logins?.for(desired) }),
    proveByHandshake(byHandshake, desired, ports),
  ])
  return proofs.flat()
}
