// What the declared registries serve, looked at from this node: when the first certificate of the chain expires, and
// whether it is another chain than before. Says nothing about trust, that is what proofs are for; but where no proof
// has succeeded with another chain, that chain is what a person should look at.
import { atMost } from '../../model/at-most.ts'
import type { Registry } from '../../model/desired-state.ts'
import { asAgentError } from '../../model/errors.ts'
import type { Clock, Log, TlsProbe } from '../../model/ports.ts'
import type { DriftStatus } from '../../model/status.ts'
import { servedCertificate, targetOf } from '../../probe/handshake.ts'

const LOOK_MS = 5_000
/** Each holds a connection and what came over it; nothing waits for these looks. */
const MOST_LOOKS_AT_ONCE = 8
/** Handshakes are cheap, and a certificate is renewed weeks before its end. */
const EVERY_MS = 600_000
/**
 * Where a proof has just failed, the chain is the first thing to know; a registry is still not asked without a pause.
 */
const AFTER_FAILURE_MS = 5_000

export type Served = {
  /** RFC 3339: the first expiry in the chain. */
  readonly notAfter: string
  /** Fingerprints in the order served. */
  readonly chain: readonly string[]
  /** Who vouches for the server: the issuer of the last certificate that it sends. */
  readonly issuer: string
}

export type ServedWatch = {
  /**
   * Looks when it is time; what is known is kept while a registry does not answer. `failed`: hosts whose proof has just
   * failed.
   */
  refresh(registries: readonly Registry[], options?: { readonly failed?: ReadonlySet<string> }): Promise<void>
  of(host: string): Served | undefined
  /** A proof has established trust: what was served then is the chain that is trusted. */
  proved(host: string, at: string): void
  /** Registries that serve another chain, with which no proof has succeeded yet. */
  changed(): readonly DriftStatus[]
}

type Change = { readonly at: number; readonly before: Served; readonly now: Served }

export function servedWatch({
  tls,
  clock,
  log,
  onChanged = () => undefined,
}: {
  readonly tls: TlsProbe
  readonly clock: Clock
  readonly log: Log
  /** The registry should be proved now: the last proof was made with another chain. */
  readonly onChanged?: (host: string) => void
}): ServedWatch {
  const known = new Map<string, Served>()
  const lookedAt = new Map<string, number>()
  const changes = new Map<string, Change>()
  const lookAt = async ({ host }: Registry): Promise<void> => {
    const { chain } = await tls.inspect(targetOf(host), { timeoutMs: LOOK_MS, request: { path: '/v2/' } })
    const certificates = chain.map(servedCertificate).filter(({ notAfter }) => notAfter !== '')
    const [first] = certificates.map(({ notAfter }) => notAfter).sort()
    if (first === undefined) return
    const served: Served = {
      notAfter: first,
      chain: certificates.map(({ fingerprint }) => fingerprint),
      issuer: certificates.at(-1)?.issuer ?? '',
    }
    const before = known.get(host)
    known.set(host, served)
    if (before === undefined || before.chain.join() === served.chain.join()) return
    log.info('chain-changed', { registry: host, before: before.chain, now: served.chain, notAfter: first })
    const proved = changes.get(host)?.before ?? before
    if (proved.chain.join() === served.chain.join()) changes.delete(host)
    else changes.set(host, { at: clock.monotonic(), before: proved, now: served })
    onChanged(host)
  }
  return {
    of: (host) => known.get(host),
    proved(host, at) {
      const change = changes.get(host)
      const proofBegan = clock.monotonic() - Math.max(0, clock.now() - Date.parse(at))
      if (change !== undefined && proofBegan >= change.at) changes.delete(host)
    },
    changed: () => [...changes].map(([host, change]) => asDrift(host, change)),
    async refresh(registries, { failed = new Set() } = {}) {
      const hosts = new Set(registries.map(({ host }) => host))
      for (const map of [known, changes]) for (const host of map.keys()) if (!hosts.has(host)) map.delete(host)
      const now = clock.monotonic()
      const due = registries.filter(
        ({ host }) =>
          (lookedAt.get(host) ?? Number.NEGATIVE_INFINITY) + (failed.has(host) ? AFTER_FAILURE_MS : EVERY_MS) <= now,
      )
      for (const { host } of due) lookedAt.set(host, now)
      await atMost(MOST_LOOKS_AT_ONCE, due, (registry) =>
        lookAt(registry).catch((thrown: unknown) =>
          log.warn('served-look-failed', { error: asAgentError(thrown).message }),
        ),
      )
    },
  }
}

function asDrift(host: string, { at, before, now }: Change): DriftStatus {
  const [from, to] = [before, now].map(({ issuer, chain }) => `${chain[0]} by ${issuer}`)
  const reason = `it has served another chain since ${new Date(at).toISOString()}: ${to}, before: ${from}; no proof has succeeded with it yet: run \`registry-trust probe ${host}\``
  return { target: 'registry', path: host, kind: 'chain-changed', reason }
}
