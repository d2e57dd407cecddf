// The certificate that the agent serves HTTP with: read from its files, and again when they change, as cert-manager and
// the kubelet renew them.
import { createSecureContext } from 'node:tls'
import { AgentError } from '../model/errors.ts'
import type { Log } from '../model/ports.ts'

export type CertificatePair = { readonly cert: Buffer; readonly key: Buffer }

/** Reads both files now; throws where one cannot be read. */
export type ReadPair = () => Promise<CertificatePair>

const LOOK_MS = 5_000

type Secured = { setSecureContext(options: CertificatePair): void }

/**
 * The first pair must be usable: throws AgentError LISTEN_FAILED. Later ones that are not are logged, and the last
 * usable one stays.
 */
export async function keepCertificate(
  server: Secured,
  read: ReadPair,
  { log, everyMs = LOOK_MS }: { readonly log: Log; readonly everyMs?: number },
): Promise<{ close(): void }> {
  let now = await usable(read)
  server.setSecureContext(now)
  let told = ''
  const reload = async () => {
    try {
      const next = await usable(read)
      told = ''
      if (next.cert.equals(now.cert) && next.key.equals(now.key)) return
      server.setSecureContext(next)
      now = next
      log.info('certificate-renewed', {})
    } catch (thrown) {
      const text = thrown instanceof Error ? thrown.message : String(thrown)
      if (text !== told) log.error('certificate-unusable', { error: text })
      told = text
    }
  }
  const timer = setInterval(() => void reload(), everyMs)
  timer.unref()
  return { close: () => clearInterval(timer) }
}

async function usable(read: ReadPair): Promise<CertificatePair> {
  try {
    const pair = await read()
    createSecureContext(pair)
    return pair
  } catch (thrown) {
    if (thrown instanceof AgentError) throw thrown
    const why = thrown instanceof Error ? thrown.message : String(thrown)
    throw new AgentError(
      'LISTEN_FAILED',
      `the certificate and key to serve with cannot be used: ${why}`,
      {},
      { cause: thrown },
    )
  }
}
