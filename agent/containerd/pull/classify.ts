// Names what a failed PullImage means. containerd gives nearly every failure the code UNKNOWN, so its text decides, by
// tables. The texts are those of containerd 1.6, 1.7 and 2.1 and of CRI-O 1.36; the first rule that fits wins, and what
// fits none keeps the runtime's own words.
// This room: what a failed pull means.
// Begin here; then crio-rules.ts (CRI-O's words), text.ts (which host failed, what may be shown).
// May touch: nothing.
import { type Finding, type FindingCode, finding } from '../../model/finding.ts'
import type { CriFailure } from '../../model/ports.ts'
import { isClusterName } from '../../text/cluster-name.ts'
import { CRIO_RULES } from './crio-rules.ts'
import type { Rule } from './rule.ts'
import { lastAttempt, requestHost, shorten, withoutSecrets } from './text.ts'

export type PullContext = {
  /** The reference as given to PullImage. */
  readonly reference: string
  /** The registry host of the reference. */
  readonly host: string
}

const MOST_CHARACTERS_READ = 16_000
const MOST_CHARACTERS_KEPT = 2_000
const MOST_CHARACTERS_QUOTED = 200

export function classifyPull(failure: CriFailure, { reference, host }: PullContext): Finding {
  const text = shorten(failure.text, MOST_CHARACTERS_READ)
  const said = lastAttempt(text)
  const failing = requestHost(said, host)
  const evidence = {
    text: shorten(withoutSecrets(text), MOST_CHARACTERS_KEPT),
    reference,
    ...(failing.isRegistry ? {} : { host: failing.host }),
  }
  const as = (code: FindingCode, template: string, match?: RegExpExecArray) =>
    finding(code, fill(template, failing.host, match), evidence)

  // containerd 2 says "not implemented" of a media type that is no manifest's, too.
  const isOfRuntime = failure.status !== 'UNIMPLEMENTED' || !text.includes('media type')
  const byStatus = isOfRuntime ? STATUS_RULES[failure.status] : undefined
  if (byStatus) return as(byStatus.code, byStatus.message)
  if (failure.status === 'NOT_FOUND' && text.trimEnd().endsWith(`${reference}: not found`))
    return as('not-found', `${host} does not have ${reference}`)
  for (const rule of RULES) {
    const match = rule.when.exec(said)
    if (match === null) continue
    if (!isCertificateRule(rule) || failing.role === 'registry') return as(codeOf(rule, match), rule.message, match)
    return as(
      ELSEWHERE[failing.role],
      `${host} sends containerd to HOST for ${PURPOSE[failing.role]}: ${rule.message}`,
      match,
    )
  }
  return as('unclassified', `pulling ${reference} failed for a reason that this version does not recognise`)
}

/** A resolver that says no to a name of the cluster is right; one that is silent is a fault of its own. */
function codeOf({ code }: Rule, [, name = '', answer = '']: RegExpExecArray): FindingCode {
  const isDenied = code === 'dns' && /^(?:no such host|server misbehaving)$/i.test(answer)
  return isDenied && isClusterName(name) ? 'cluster-dns' : code
}

function fill(template: string, host: string, match: RegExpExecArray | undefined): string {
  return template.replace(/HOST|\$(\d)/g, (word, group?: string) => {
    if (group === undefined) return word === 'HOST' ? host : word
    return shorten(withoutSecrets(match?.[Number(group)] ?? ''), MOST_CHARACTERS_QUOTED).trim()
  })
}

const STATUS_RULES: { readonly [status: string]: { readonly code: FindingCode; readonly message: string } } = {
  UNAVAILABLE: { code: 'containerd-down', message: 'containerd went away or does not answer on its socket' },
  UNIMPLEMENTED: { code: 'cri-not-loaded', message: 'containerd answers, but without its CRI plugin' },
  DEADLINE_EXCEEDED: { code: 'timeout', message: 'HOST did not answer in time' },
  CANCELLED: { code: 'timeout', message: 'HOST did not answer in time' },
}

const ELSEWHERE = { token: 'token-host-untrusted', blob: 'blob-host-untrusted' } as const
const PURPOSE = { token: 'tokens', blob: 'the data' } as const

/** In the path of a folder of certs.d: files that containerd reads before it sends anything. */
const LOCAL_RULES: readonly Rule[] = [
  {
    when: /unable to read CA cert "([^"]*)": (?:open|read) [^:]*: (.*)/,
    code: 'ca-file-unreadable',
    message: 'containerd cannot read the CA file $1: $2',
  },
  {
    when: /unable to load CA cert "([^"]*)"/,
    code: 'ca-file-unreadable',
    message: 'the CA file $1 holds no PEM certificate that containerd can use',
  },
  {
    when: /failed to load CA file: open ([^:]*): (.*)/,
    code: 'ca-file-unreadable',
    message: 'containerd cannot read the CA file $1 of registry.configs: $2',
  },
  {
    when: /failed to load X509 key pair/,
    code: 'ca-file-unreadable',
    message: 'containerd cannot read the client certificate and key in the host directory',
  },
  {
    when: /open (\S*\/hosts\.toml): (.*)/,
    code: 'hosts-file-ignored',
    message: 'containerd cannot read $1: $2',
  },
  {
    when: /illegal base64 data/,
    code: 'bad-credentials-file',
    message: 'the credentials are not valid base64',
  },
  {
    when: /no space left on device|disk quota exceeded/,
    code: 'no-space',
    message: 'the disk of the node is full',
  },
]

/** Before the certificate rules: a proxy with a bad certificate says x509 as well. */
const PROXY_RULES: readonly Rule[] = [
  {
    when: /proxyconnect tcp: (.*)/,
    code: 'proxy-error',
    message: 'the proxy for HOST cannot be used: $1',
  },
  {
    when: /socks connect \S+ (.*)/,
    code: 'proxy-error',
    message: 'the SOCKS proxy for HOST cannot be used: $1',
  },
  {
    // Go reports a proxy's answer to CONNECT by the bare status text.
    when: /": (Proxy Authentication Required|Forbidden|Bad Gateway|Service Unavailable|Gateway Timeout|Method Not Allowed)\s*$/,
    code: 'proxy-error',
    message: 'the proxy refuses the connection to HOST: $1',
  },
  {
    when: /407 Proxy Authentication Required/,
    code: 'proxy-error',
    message: 'the proxy requires a login for HOST',
  },
]

/** Before the certificate rules: whatever certificate the other end has, it is not the place to trust. */
const REDIRECT_RULES: readonly Rule[] = [
  {
    when: /stopped after \d+ redirects/,
    code: 'redirect-loop',
    message: 'HOST redirects containerd in a loop',
  },
  {
    // A manifest is asked for with HEAD; registries that answer from elsewhere redirect it to another path below /v2/.
    when: /failed to resolve (?:reference|image).*\bHead "?https:\/\/[^/"\s?]+(?!\/v2\/)[/"?\s]/i,
    code: 'login-page',
    message: 'containerd is redirected to a page of HOST instead of being answered: a login portal or captive portal',
  },
  {
    when: /\b(?:Head|Get|Post) "?http:\/\/(?!\S*[?&]ns=)[^"\s]*"?: (?!http: server gave HTTP)/i,
    code: 'plain-http-redirect',
    message: 'containerd is sent to http://HOST, without TLS, and gets no answer there',
  },
]

const CERTIFICATE_RULES: readonly Rule[] = [
  {
    when: /x509: .*insecure algorithm ([\w-]+)/,
    code: 'weak-signature',
    message: 'the certificate of HOST is signed with $1, which is no longer accepted',
  },
  {
    when: /x509: certificate signed by unknown authority \(possibly because of .* candidate authority certificate "([^"]*)"\)/,
    code: 'unknown-authority',
    message:
      'the CA "$1" is trusted, but the certificate of HOST is signed by another key of that name: the CA was renewed with a new key',
  },
  {
    when: /x509: certificate signed by unknown authority/,
    code: 'unknown-authority',
    message:
      'no trusted CA verifies the certificate of HOST: its CA is missing or is a different one, or the server does not send its intermediate',
  },
  {
    when: /x509: certificate is valid for (.*), not (\S+)/,
    code: 'hostname-mismatch',
    message: 'the certificate of HOST is valid for $1, not for $2',
  },
  {
    when: /x509: certificate is not valid for any names/,
    code: 'no-san',
    message: 'the certificate of HOST carries no name at all',
  },
  {
    when: /x509: cannot validate certificate for (\S+) because it doesn't contain any IP SANs/,
    code: 'no-san',
    message: 'the certificate of HOST has no subjectAltName for the address $1',
  },
  {
    when: /x509: certificate relies on legacy Common Name field/,
    code: 'no-san',
    message: 'the certificate of HOST carries its name in the common name only',
  },
  {
    when: /x509: certificate has expired or is not yet valid: current time (\S+) is after (\S+)/,
    code: 'expired',
    message: 'the certificate of HOST, or of its CA, expired at $2 (the node has $1)',
  },
  {
    when: /x509: certificate has expired or is not yet valid: current time (\S+) is before (\S+)/,
    code: 'not-yet-valid',
    message: 'the certificate of HOST, or of its CA, is valid from $2 on (the node has $1)',
  },
  { when: /x509: (.*)/, code: 'unknown-authority', message: 'the certificate of HOST does not verify: $1' },
]

const TLS_RULES: readonly Rule[] = [
  {
    when: /tls: (?:protocol version not supported|server selected unsupported protocol version)|tls: handshake failure/,
    code: 'tls-version',
    message: 'HOST and containerd have no TLS version and cipher in common',
  },
  {
    when: /tls: (?:certificate required|bad certificate|unknown certificate authority)/,
    code: 'client-certificate-required',
    message: 'HOST requires a client certificate that it accepts',
  },
  {
    when: /server gave HTTP response to HTTPS client/,
    code: 'plain-http',
    message: 'HOST speaks plain HTTP where TLS is expected',
  },
  {
    when: /first record does not look like a TLS handshake/,
    code: 'not-tls',
    message: 'HOST answers on this port with something that is neither TLS nor HTTP',
  },
]

const NETWORK_RULES: readonly Rule[] = [
  {
    when: /lookup (\S+?)(?: on \S+)?: (no such host|server misbehaving|.*i\/o timeout|.*temporary failure.*)/i,
    code: 'dns',
    message: 'the name $1 cannot be resolved on this node: $2',
  },
  {
    when: /dial tcp (\S+): connect: (connection refused|no route to host|network is unreachable|host is down)/,
    code: 'refused',
    message: 'no connection to HOST ($1): $2',
  },
  {
    when: /TLS handshake timeout|i\/o timeout|context deadline exceeded|Client\.Timeout exceeded|connection timed out/,
    code: 'timeout',
    message: 'HOST did not answer in time',
  },
  {
    when: /connection reset by peer|broken pipe|: (?:unexpected )?EOF\s*$/,
    code: 'connection-closed',
    message: 'HOST closed the connection without an answer',
  },
]

const HTTP_STATUS = String.raw`(?:status code \[[^\]]*\]|unexpected status(?: code)?(?: from \S+ request to \S+)?): `

const HTTP_RULES: readonly Rule[] = [
  {
    when: /media type "?(text\/[^"\s:;]+)/,
    code: 'login-page',
    message: 'HOST answered with a page ($1) instead of an image: a login portal or a web server',
  },
  {
    when: /invalid character '<' looking for beginning of value|malformed HTTP response|server gave HTTP\/2 response/,
    code: 'not-a-registry',
    message: 'HOST answered with something that is not the registry protocol',
  },
  {
    when: new RegExp(`${HTTP_STATUS}401|pull access denied|no basic auth credentials|authorization failed`),
    code: 'unauthorized',
    message: 'HOST requires a login that may pull, or has no such repository',
  },
  { when: new RegExp(`${HTTP_STATUS}403`), code: 'forbidden', message: 'HOST refuses the pull (403)' },
  {
    when: new RegExp(`${HTTP_STATUS}429|toomanyrequests`, 'i'),
    code: 'rate-limited',
    message: 'HOST limits the rate of requests (429)',
  },
  {
    when: new RegExp(`${HTTP_STATUS}(5\\d\\d[^"]{0,60})`),
    code: 'server-error',
    message: 'HOST answers with a server error: $1',
  },
  { when: new RegExp(`${HTTP_STATUS}([34]\\d\\d[^"]{0,60})`), code: 'not-a-registry', message: 'HOST answers $1' },
]

const RULES: readonly Rule[] = [
  ...LOCAL_RULES,
  ...PROXY_RULES,
  ...REDIRECT_RULES,
  ...CERTIFICATE_RULES,
  ...TLS_RULES,
  ...NETWORK_RULES,
  ...HTTP_RULES,
  ...CRIO_RULES,
  {
    // Only the rehearsal's copy, which has no right to mount, fails so late: every byte came over trusted TLS.
    when: /failed to mount .*: operation not permitted/,
    code: 'trusted',
    message: 'the image was fetched completely from HOST; unpacking it is not part of the proof',
  },
  {
    when: /failed to parse image reference "([^"]*)": (.*)/,
    code: 'unclassified',
    message: 'containerd does not accept the image reference $1: $2',
  },
]

function isCertificateRule(rule: Rule): boolean {
  return CERTIFICATE_RULES.includes(rule)
}
