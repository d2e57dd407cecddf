// Proofs after a change of the hosts file. Go keeps what it read of it for five seconds (net/hosts.go, cacheMaxAge), so
// that the running containerd may ask by the old lines for a moment: what fails then is asked again.
import type { Registry } from '../../model/desired-state.ts'
import { provesTrust } from '../../model/finding.ts'
import type { Change } from '../../model/plan.ts'
import type { Clock } from '../../model/ports.ts'
import type { ProofResult } from '../../model/proof.ts'

const KEPT_MS = 5_500
const PAUSE_MS = 500

/** `prove` answers for the registries given. Proofs of other changes are asked for once. */
export async function proveWithNames(
  registries: readonly Registry[],
  changes: readonly Change[],
  prove: (registries: readonly Registry[]) => Promise<readonly ProofResult[]>,
  { clock, signal }: { readonly clock: Clock; readonly signal?: AbortSignal | undefined },
): Promise<readonly ProofResult[]> {
  const until = clock.monotonic() + KEPT_MS
  let proofs = await prove(registries)
  if (!changes.some(({ target }) => target === 'hosts-file')) return proofs
  for (;;) {
    const failed = new Set(proofs.filter(({ finding }) => !provesTrust(finding.code)).map(({ host }) => host))
    const again = registries.filter(({ host, addresses }) => addresses !== undefined && failed.has(host))
    if (again.length === 0 || clock.monotonic() >= until) return proofs
    await clock.sleep(PAUSE_MS, { signal })
    const fresh = new Map((await prove(again)).map((proof) => [proof.host, proof]))
    proofs = proofs.map((proof) => fresh.get(proof.host) ?? proof)
  }
}
