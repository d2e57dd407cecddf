// Names what stopped a TLS connection before any certificate could be judged, with the code that containerd's error has
// for the same fault. Pure.
import { type Finding, type FindingCode, finding } from '../model/finding.ts'
import type { HttpAnswer, TlsFailure, TlsSight } from '../model/ports.ts'
import { isClusterName } from '../text/cluster-name.ts'

const ASKS_FOR_CERTIFICATE = /certificate required|bad certificate|unknown ca|certificate unknown|no certificate/
const REFUSES_VERSION =
  /protocol version|handshake failure|insufficient security|unsupported protocol|version too low|wrong (ssl )?version|no shared/

export function explainFailure(
  failure: TlsFailure,
  registry: string,
  sight: Pick<TlsSight, 'wantsClientCertificate'>,
): Finding {
  const { kind, text } = failure
  const say = (code: FindingCode, message: string) => finding(code, message, text === '' ? {} : { text })
  switch (kind) {
    case 'dns':
      return isClusterName(registry)
        ? say(
            'cluster-dns',
            `${registry} cannot be resolved on this node: such names are known to the cluster's DNS only`,
          )
        : say('dns', `the name of ${registry} cannot be resolved on this node`)
    case 'refused':
      return say('refused', `no connection to ${registry}: ${text}`)
    case 'timeout':
      return say('timeout', `${registry} did not answer in time`)
    case 'closed':
      return say('connection-closed', `${registry} closed the connection without an answer (${text})`)
    case 'proxy':
      return say('proxy-error', `the proxy that containerd uses cannot be used for ${registry}: ${text}`)
    case 'not-tls':
      return explainPlain(text, registry)
    case 'alert':
    case 'protocol': {
      if (ASKS_FOR_CERTIFICATE.test(text) || (sight.wantsClientCertificate && kind === 'alert')) {
        return say('client-certificate-required', `${registry} requires a client certificate that it accepts`)
      }
      if (REFUSES_VERSION.test(text)) {
        return say('tls-version', `${registry} and containerd have no TLS version and cipher in common (${text})`)
      }
      if (text === 'unrecognized name')
        return say('hostname-mismatch', `the server at ${registry} knows no host of that name (SNI)`)
      return say('unclassified', `the TLS handshake with ${registry} failed: ${text}`)
    }
    default:
      throw kind satisfies never
  }
}

function explainPlain(text: string, registry: string): Finding {
  const line = /^[\x20-\x7e]*/.exec(text)?.[0] ?? ''
  const evidence = line === '' ? {} : { text: line }
  if (line.startsWith('HTTP/'))
    return finding('plain-http', `${registry} speaks plain HTTP on this port, where TLS is expected`, evidence)
  const said = line === '' ? 'bytes that are not TLS' : `"${line.slice(0, 60)}"`
  const [, service = 'a service that does not speak TLS'] = BANNERS.find(([banner]) => banner.test(text)) ?? []
  return finding('not-tls', `${registry} is ${service}: it answers a TLS greeting with ${said}`, evidence)
}

/** How services of other kinds greet; the first that fits. */
const BANNERS: readonly (readonly [RegExp, string])[] = [
  [/^SSH-/, 'an SSH server'],
  [/^220[ -].*(?:smtp|mail|postfix|exim)/i, 'a mail server (SMTP)'],
  [/^220[ -]/, 'a mail or FTP server'],
  [/^\* OK|^\+OK/, 'a mailbox server (IMAP or POP3)'],
  [/^-(?:ERR|DENIED|NOAUTH)/, 'a Redis server'],
  [/^[\s\S]{4}\n[5-9]\./, 'a MySQL or MariaDB server'],
  [/^RFB /, 'a VNC server'],
]

/** What a registry's answer to an anonymous GET says besides TLS; `undefined`: nothing is wrong with it. */
export function explainAnswer(
  { status, headers, body }: HttpAnswer,
  registry: string,
  { wantsClientCertificate }: Pick<TlsSight, 'wantsClientCertificate'>,
): Finding | undefined {
  // nginx and others let the handshake pass, and refuse then; some with 496, or with 403.
  const isCertificateMissed = /SSL certificate|client certificate/i.test(body.subarray(0, 4_000).toString('latin1'))
  if (wantsClientCertificate && (status === 400 || status === 496 || (status === 403 && isCertificateMissed)))
    return finding('client-certificate-required', `${registry} asked for a client certificate and answers ${status}`)
  if (status === 407 || isOfProxy(headers))
    return finding('proxy-error', `a proxy on the way answers ${status} in place of ${registry}`)
  if (status === 401) return finding('unauthorized', `${registry} requires a login (401)`)
  if (status === 403) return finding('forbidden', `${registry} refuses anonymous requests (403)`)
  if (status === 429) return finding('rate-limited', `${registry} limits the rate of requests (429)`)
  if (status >= 500) return finding('server-error', `${registry} answers with a server error (${status})`)
  const isPage = /^text\/html/i.test(headers['content-type'] ?? '')
  if (status === 200 && isPage) return finding('login-page', `${registry} answers with an HTML page, not as a registry`)
  const isRedirect = status >= 300 && status < 400
  if (status === 404 && headers['docker-distribution-api-version'] !== undefined) return undefined
  if (status >= 400) return finding('not-a-registry', `${registry} answers ${status} to GET /v2/, as no registry does`)
  return status === 200 || isRedirect
    ? undefined
    : finding('not-a-registry', `${registry} answers ${status} to GET /v2/`)
}

const MOST_WARNINGS = 5
const MOST_WARNING_CHARACTERS = 300

/**
 * What the registry wants its users to read: the texts of `Warning: 299 - "…"`. Other codes and agents are those of
 * caches on the way, which clients shall ignore (OCI distribution specification, "Warnings"; RFC 7234 section 5.5).
 */
export function warningsOf({ headers }: Pick<HttpAnswer, 'headers'>): readonly string[] {
  const values = (headers['warning'] ?? '').matchAll(/(?:^|,)\s*(\d{3}) (\S+) "((?:[^"\\]|\\.)*)"/g)
  const texts = [...values].flatMap(([, code, agent, quoted = '']) =>
    code === '299' && agent === '-' ? [readable(quoted.replace(/\\(.)/g, '$1'))] : [],
  )
  return [...new Set(texts)].filter((text) => text !== '').slice(0, MOST_WARNINGS)
}

function readable(text: string): string {
  const plain = text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ').trim()
  return plain.length <= MOST_WARNING_CHARACTERS ? plain : `${plain.slice(0, MOST_WARNING_CHARACTERS)}…`
}

/** The usual marks of a proxy's own error page; `Via` alone is also that of a content delivery network. */
function isOfProxy(headers: HttpAnswer['headers']): boolean {
  if (headers['x-squid-error'] !== undefined || headers['proxy-authenticate'] !== undefined) return true
  return /squid|zscaler|bluecoat|proxysg|fortigate|forcepoint|mcafee web gateway/i.test(headers['server'] ?? '')
}

const SKEW_MS = 5 * 60_000

/** How far the server's clock is away, where that is more than a few minutes: dates are judged by clocks. */
export function clockNote(answer: HttpAnswer | undefined, now: number): string | undefined {
  const theirs = Date.parse(answer?.headers['date'] ?? '')
  if (Number.isNaN(theirs) || Math.abs(theirs - now) < SKEW_MS) return undefined
  const minutes = Math.round(Math.abs(theirs - now) / 60_000)
  const amount =
    minutes < 180
      ? `${minutes} minutes`
      : minutes < 4_320
        ? `${Math.round(minutes / 60)} hours`
        : `${Math.round(minutes / 1_440)} days`
  const direction = theirs > now ? 'ahead of' : 'behind'
  return `the server's clock (${new Date(theirs).toISOString()}) is ${amount} ${direction} this node's (${new Date(now).toISOString()})`
}
