// What the declared registries serve, looked at from this node: when the first certificate of the chain expires, and whether
// it is another chain than the last time. Says nothing about trust: that is what proofs are for.
import type { Registry } from '../model/desired-state.ts'
import { asAgentError } from '../model/errors.ts'
import type { Clock, Log, TlsProbe } from '../model/ports.ts'
import { servedCertificate, targetOf } from './probe-look.ts'

const LOOK_MS = 5_000
/** Handshakes are cheap, and a certificate is renewed weeks before its end. */
const EVERY_MS = 600_000

export type Served = {
  /** RFC 3339: the first expiry in the chain. */
  readonly notAfter: string
  /** Fingerprints in the order served. */
  readonly chain: readonly string[]
}

export type ServedWatch = {
  /** Looks when it is time; what is known is kept while a registry does not answer. */
  look(registries: readonly Registry[]): Promise<void>
  of(host: string): Served | undefined
}

export function servedWatch({
  tls,
  clock,
  log,
}: {
  readonly tls: TlsProbe
  readonly clock: Clock
  readonly log: Log
}): ServedWatch {
  const known = new Map<string, Served>()
  const lookedAt = new Map<string, number>()
  const lookAt = async ({ host }: Registry): Promise<void> => {
    const { chain } = await tls.look(targetOf(host), { timeoutMs: LOOK_MS, request: { path: '/v2/' } })
    const certificates = chain.map(servedCertificate).filter(({ notAfter }) => notAfter !== '')
    const [first] = certificates.map(({ notAfter }) => notAfter).sort()
    if (first === undefined) return
    const served = { notAfter: first, chain: certificates.map(({ fingerprint }) => fingerprint) }
    const before = known.get(host)
    known.set(host, served)
    if (before !== undefined && before.chain.join() !== served.chain.join())
      log.info('chain-changed', { registry: host, before: before.chain, now: served.chain, notAfter: first })
  }
  return {
    of: (host) => known.get(host),
    async look(registries) {
      const hosts = new Set(registries.map(({ host }) => host))
      for (const host of known.keys()) if (!hosts.has(host)) known.delete(host)
      const due = registries.filter(({ host }) => (lookedAt.get(host) ?? 0) + EVERY_MS <= clock.now())
      for (const { host } of due) lookedAt.set(host, clock.now())
      for (const result of await Promise.allSettled(due.map(lookAt)))
        if (result.status === 'rejected') log.warn('served-look-failed', { error: asAgentError(result.reason).message })
    },
  }
}
