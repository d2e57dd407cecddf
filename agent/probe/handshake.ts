// One look at one host and its judgement: the handshake, the chain as containerd would verify it, and the missing
// issuer's certificate as evidence where one can be had.
import { type Finding, finding } from '../model/finding.ts'
import type { Clock, TlsProbe, TlsSight, TlsTarget } from '../model/ports.ts'
import { type ChainCertificate, readChainCertificate } from '../pki/certificate/chain-certificate.ts'
import { explainChain } from '../pki/chain/explain.ts'
import { instant } from '../pki/chain/phrases.ts'
import type { ChainAnswer, ChainQuestion } from '../pki/chain/question.ts'
import type { TrustedRoot } from '../pki/chain/roots.ts'
import { decodeCertificates } from '../pki/decode/decode.ts'
import { explainFailure } from './failure.ts'

export type ProbePorts = { readonly tls: TlsProbe; readonly clock: Clock }

export type ProbeOptions = { readonly timeoutMs: number; readonly signal?: AbortSignal | undefined }

/** Who may vouch for a registry. */
export type Trust = {
  readonly isDeclared: boolean
  readonly roots: readonly TrustedRoot[]
  /** Declared for other registries only. */
  readonly otherAnchors: readonly TrustedRoot[]
}

/** `host[:port]` of an image reference, or `[IPV6][:port]`. */
export function targetOf(registry: string): TlsTarget {
  const [, bracketed, name, port] = /^(?:\[(.*)\]|([^:]*))(?::(\d+))?$/.exec(registry) ?? []
  return { host: bracketed ?? name ?? registry, port: port === undefined ? 443 : Number(port) }
}

export type Seen = {
  readonly sight: TlsSight
  readonly verdict: Finding
  readonly verifiedBy: string | null
  readonly unexpectedIssuer?: string | undefined
}

/** One handshake and its judgement; with the missing issuer's certificate as evidence where one can be had. */
export async function inspectServer(
  registry: string,
  trust: Trust,
  ports: ProbePorts,
  options: ProbeOptions,
  request: { readonly path: string; readonly headers?: { readonly [name: string]: string } } = { path: '/v2/' },
): Promise<Seen> {
  return judged(registry, trust, await ports.tls.inspect(targetOf(registry), { ...options, request }), ports, options)
}

/** The same without a request: for a server that is not verified yet. */
export async function inspectChain(
  registry: string,
  trust: Trust,
  ports: ProbePorts,
  options: ProbeOptions,
): Promise<Seen> {
  return judged(registry, trust, await ports.tls.inspect(targetOf(registry), options), ports, options)
}

async function judged(
  registry: string,
  trust: Trust,
  sight: TlsSight,
  ports: ProbePorts,
  options: ProbeOptions,
): Promise<Seen> {
  if (sight.chain.length === 0) {
    const verdict =
      sight.failure === undefined
        ? finding('unclassified', `${registry} completed the TLS handshake, but its certificate could not be read`)
        : explainFailure(sight.failure, registry, sight)
    return { sight, verdict, verifiedBy: null }
  }
  const answer = await judge(registry, trust, sight, ports, options)
  const { verifiedBy, unexpectedIssuer } = answer
  // The server's certificate comes first: a client that refuses it never gets to hear the rest.
  const isStopped = answer.finding.code === 'trusted' && sight.failure !== undefined
  const verdict =
    isStopped && sight.failure !== undefined ? explainFailure(sight.failure, registry, sight) : answer.finding
  return { sight, verdict, verifiedBy: isStopped ? null : verifiedBy, unexpectedIssuer }
}

const MOST_ISSUERS = 3
const ISSUER_MS = 2_000

async function judge(
  registry: string,
  trust: Trust,
  sight: TlsSight,
  ports: ProbePorts,
  options: ProbeOptions,
): Promise<ChainAnswer> {
  const question = questionOf(registry, trust, sight, ports.clock.now())
  const answer = explainChain(question)
  if (answer.issuerUrls.length === 0) return answer
  const fetched: ChainCertificate[] = []
  let urls = answer.issuerUrls
  while (urls.length > 0 && fetched.length < MOST_ISSUERS) {
    const [issuer] = await fetchIssuers(urls, ports.tls, options)
    if (issuer === undefined || fetched.some((one) => one.fingerprint === issuer.fingerprint)) break
    fetched.push(issuer)
    urls = issuer.isSelfSigned ? [] : issuer.issuerUrls
  }
  return fetched.length === 0 ? answer : explainChain({ ...question, fetched })
}

async function fetchIssuers(
  urls: readonly string[],
  tls: TlsProbe,
  options: ProbeOptions,
): Promise<readonly ChainCertificate[]> {
  for (const url of urls) {
    const bytes = await tls.fetch(url, { ...options, timeoutMs: Math.min(ISSUER_MS, options.timeoutMs) })
    const decoded = bytes === undefined ? [] : decodeCertificates(bytes).certificates
    const read = decoded.flatMap(({ pem }) => {
      const one = readChainCertificate(Buffer.from(pem.replace(/-----[^-]+-----/g, ''), 'base64'))
      return one.ok ? [one.certificate] : []
    })
    if (read.length > 0) return read
  }
  return []
}

function questionOf(registry: string, trust: Trust, sight: TlsSight, now: number): ChainQuestion {
  const { host } = targetOf(registry)
  return { registry, host, chain: sight.chain, now, ...trust }
}

export type ServedCertificate = {
  readonly subject: string
  readonly issuer: string
  readonly fingerprint: string
  readonly notBefore: string
  readonly notAfter: string
}

export function servedCertificate(der: Buffer): ServedCertificate {
  const read = readChainCertificate(der)
  if (!read.ok) return { subject: '', issuer: '', fingerprint: '', notBefore: '', notAfter: '' }
  const { subject, issuer, fingerprint, notBefore, notAfter } = read.certificate
  return { subject, issuer, fingerprint, notBefore: instant(notBefore), notAfter: instant(notAfter) }
}
