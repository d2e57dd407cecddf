// Every text that containerd 1.6, 1.7 and 2.1 were seen to give for a failed pull, and the code it gets.
import t from 'tap'
import { classifyPull } from '../../../agent/containerd/pull/classify.ts'
import type { FindingCode } from '../../../agent/model/finding.ts'

const HOST = 'reg.test'
const REFERENCE = 'reg.test/registry-trust/probe:does-not-exist'
const V2 = 'https://reg.test/v2/registry-trust/probe/manifests/does-not-exist'

const FRAMES = {
  '1.6': `failed to pull and unpack image "${REFERENCE}": failed to resolve reference "${REFERENCE}": `,
  '1.7': `failed to pull and unpack image "${REFERENCE}": failed to resolve reference "${REFERENCE}": `,
  '2.1': `failed to pull and unpack image "${REFERENCE}": failed to resolve image: `,
} as const

type Generation = keyof typeof FRAMES
const GENERATIONS = ['1.6', '1.7', '2.1'] as const

type Case = {
  readonly name: string
  readonly code: FindingCode
  readonly status?: string
  readonly cause: string | { readonly [generation in Generation]: string }
  readonly message: string
}

const request = (cause: string) => `failed to do request: Head "${V2}": ${cause}`
/** 1.7 and 2.1 put a prefix before what 1.6 says. */
const x509 = (cause: string) => ({
  '1.6': request(cause),
  '1.7': request(`tls: failed to verify certificate: ${cause}`),
  '2.1': request(`tls: failed to verify certificate: ${cause}`),
})
const status = (line: string) => ({
  '1.6': `pulling from host reg.test failed with status code [manifests does-not-exist]: ${line}`,
  '1.7': `unexpected status from HEAD request to ${V2}: ${line}`,
  '2.1': `unexpected status from HEAD request to ${V2}?ns=%5BREDACTED%5D: ${line}`,
})
const CA = '/etc/containerd/certs.d/reg.test/ca.crt'
const UNKNOWN =
  'no trusted CA verifies the certificate of reg.test: its CA is missing or is a different one, or the server does not send its intermediate'
const TIMEOUT = 'reg.test did not answer in time'
const LOGIN = 'reg.test requires a login that may pull, or has no such repository'
const DENIED = 'pull access denied, repository does not exist or may require authorization: '

const CASES: readonly Case[] = [
  {
    name: 'unknown authority',
    code: 'unknown-authority',
    cause: x509('x509: certificate signed by unknown authority'),
    message: UNKNOWN,
  },
  {
    name: 'a CA with a new key of the same subject',
    code: 'unknown-authority',
    cause: x509(
      'x509: certificate signed by unknown authority (possibly because of "crypto/rsa: verification error" while trying to verify candidate authority certificate "Corp Root")',
    ),
    message:
      'the CA "Corp Root" is trusted, but the certificate of reg.test is signed by another key of that name: the CA was renewed with a new key',
  },
  {
    name: 'a SHA-1 leaf',
    code: 'weak-signature',
    cause: x509(
      'x509: certificate signed by unknown authority (possibly because of "x509: cannot verify signature: insecure algorithm SHA1-RSA" while trying to verify candidate authority certificate "Corp Root")',
    ),
    message: 'the certificate of reg.test is signed with SHA1-RSA, which is no longer accepted',
  },
  {
    name: 'a SHA-1 leaf with the hint of Go 1.19',
    code: 'weak-signature',
    cause: request(
      'x509: certificate signed by unknown authority (possibly because of "x509: cannot verify signature: insecure algorithm SHA1-RSA (temporarily override with GODEBUG=x509sha1=1)" while trying to verify candidate authority certificate "Corp Root")',
    ),
    message: 'the certificate of reg.test is signed with SHA1-RSA, which is no longer accepted',
  },
  {
    name: 'a name mismatch',
    code: 'hostname-mismatch',
    cause: x509('x509: certificate is valid for other.test, *.corp.test, not reg.test'),
    message: 'the certificate of reg.test is valid for other.test, *.corp.test, not for reg.test',
  },
  {
    name: 'an expired certificate',
    code: 'expired',
    cause: x509(
      'x509: certificate has expired or is not yet valid: current time 2026-11-21T10:00:00Z is after 2026-11-20T00:00:00Z',
    ),
    message:
      'the certificate of reg.test, or of its CA, expired at 2026-11-20T00:00:00Z (the node has 2026-11-21T10:00:00Z)',
  },
  {
    name: 'a certificate of the future',
    code: 'not-yet-valid',
    cause: x509(
      'x509: certificate has expired or is not yet valid: current time 2026-11-21T10:00:00Z is before 2026-12-01T00:00:00Z',
    ),
    message:
      'the certificate of reg.test, or of its CA, is valid from 2026-12-01T00:00:00Z on (the node has 2026-11-21T10:00:00Z)',
  },
  {
    name: 'a common name alone',
    code: 'no-san',
    cause: x509('x509: certificate relies on legacy Common Name field, use SANs instead'),
    message: 'the certificate of reg.test carries its name in the common name only',
  },
  {
    name: 'an address without an IP SAN',
    code: 'no-san',
    cause: x509("x509: cannot validate certificate for 10.0.10.8 because it doesn't contain any IP SANs"),
    message: 'the certificate of reg.test has no subjectAltName for the address 10.0.10.8',
  },
  {
    name: 'a certificate without names',
    code: 'no-san',
    cause: x509('x509: certificate is not valid for any names, but wanted to match reg.test'),
    message: 'the certificate of reg.test carries no name at all',
  },
  {
    name: 'any other verification error',
    code: 'unknown-authority',
    cause: x509('x509: certificate specifies an incompatible key usage'),
    message: 'the certificate of reg.test does not verify: certificate specifies an incompatible key usage',
  },
  {
    name: 'plain HTTP on the TLS port',
    code: 'plain-http',
    cause: request('http: server gave HTTP response to HTTPS client'),
    message: 'reg.test speaks plain HTTP where TLS is expected',
  },
  {
    name: 'something that is not TLS',
    code: 'not-tls',
    cause: request('tls: first record does not look like a TLS handshake'),
    message: 'reg.test answers on this port with something that is neither TLS nor HTTP',
  },
  {
    name: 'nobody listening',
    code: 'refused',
    cause: request('dial tcp 10.0.10.16:443: connect: connection refused'),
    message: 'no connection to reg.test (10.0.10.16:443): connection refused',
  },
  {
    name: 'no route',
    code: 'refused',
    cause: request('dial tcp 10.0.10.16:443: connect: no route to host'),
    message: 'no connection to reg.test (10.0.10.16:443): no route to host',
  },
  {
    name: 'a reset connection',
    code: 'connection-closed',
    cause: request('read tcp 10.0.0.2:5000->10.0.10.16:443: read: connection reset by peer'),
    message: 'reg.test closed the connection without an answer',
  },
  {
    name: 'a closed connection',
    code: 'connection-closed',
    cause: request('EOF'),
    message: 'reg.test closed the connection without an answer',
  },
  {
    name: 'a name that does not resolve',
    code: 'dns',
    cause: request('dial tcp: lookup reg.test on 127.0.0.53:53: no such host'),
    message: 'the name reg.test cannot be resolved on this node: no such host',
  },
  ...['harbor.registry.svc.cluster.local', 'harbor.registry.svc', 'harbor'].map((host) => ({
    name: `${host}, which only the DNS of the cluster knows`,
    code: 'cluster-dns' as const,
    cause: request(`dial tcp: lookup ${host} on 10.0.0.53:53: no such host`),
    message: `the name ${host} cannot be resolved on this node: no such host`,
  })),
  {
    name: 'a name of the cluster that a silent name server was asked for',
    code: 'dns',
    cause: request(
      'dial tcp: lookup harbor.registry.svc on 10.0.0.53:53: read udp 10.0.0.2:4->10.0.0.53:53: i/o timeout',
    ),
    message:
      'the name harbor.registry.svc cannot be resolved on this node: read udp 10.0.0.2:4->10.0.0.53:53: i/o timeout',
  },
  {
    name: 'a name server that does not answer',
    code: 'dns',
    cause: request('dial tcp: lookup reg.test on 10.0.0.53:53: read udp 10.0.0.2:40000->10.0.0.53:53: i/o timeout'),
    message: 'the name reg.test cannot be resolved on this node: read udp 10.0.0.2:40000->10.0.0.53:53: i/o timeout',
  },
  {
    name: 'a TLS handshake without an answer',
    code: 'timeout',
    cause: request('net/http: TLS handshake timeout'),
    message: TIMEOUT,
  },
  {
    name: 'packets that get lost',
    code: 'timeout',
    cause: request('dial tcp 10.0.10.16:443: i/o timeout'),
    message: TIMEOUT,
  },
  {
    name: 'an HTTP answer that never comes',
    code: 'timeout',
    status: 'DEADLINE_EXCEEDED',
    cause: request('context deadline exceeded'),
    message: TIMEOUT,
  },
  {
    name: 'an HTTP answer that never comes, as 2.1 may say it',
    code: 'timeout',
    status: 'CANCELLED',
    cause: 'context canceled',
    message: TIMEOUT,
  },
  {
    name: 'TLS 1.1',
    code: 'tls-version',
    cause: request('remote error: tls: protocol version not supported'),
    message: 'reg.test and containerd have no TLS version and cipher in common',
  },
  {
    name: 'a client certificate that is wanted',
    code: 'client-certificate-required',
    cause: request('remote error: tls: certificate required'),
    message: 'reg.test requires a client certificate that it accepts',
  },
  {
    name: 'basic authentication without credentials',
    code: 'unauthorized',
    cause: {
      '1.6': 'pulling from host reg.test failed with status code [manifests does-not-exist]: 401 Unauthorized',
      '1.7': `${DENIED}authorization failed: no basic auth credentials`,
      '2.1': `${DENIED}authorization failed: no basic auth credentials`,
    },
    message: LOGIN,
  },
  { name: 'a wrong password', code: 'unauthorized', cause: status('401 Unauthorized'), message: LOGIN },
  {
    name: 'a token without the right',
    code: 'unauthorized',
    cause: `${DENIED}server message: insufficient_scope: authorization failed`,
    message: LOGIN,
  },
  {
    name: 'a wrong password at the token service',
    code: 'unauthorized',
    cause: {
      '1.6': 'failed to authorize: failed to fetch oauth token: unexpected status: 401 Unauthorized',
      '1.7':
        'failed to authorize: failed to fetch oauth token: unexpected status from GET request to https://reg.test/service/token?scope=repository%3Ax%3Apull: 401 Unauthorized',
      '2.1':
        'failed to authorize: failed to fetch oauth token: unexpected status from GET request to https://reg.test/service/token?scope=repository%3Ax%3Apull: 401 Unauthorized',
    },
    message: LOGIN,
  },
  { name: 'forbidden', code: 'forbidden', cause: status('403 Forbidden'), message: 'reg.test refuses the pull (403)' },
  {
    name: 'a rate limit',
    code: 'rate-limited',
    cause: status('429 Too Many Requests'),
    message: 'reg.test limits the rate of requests (429)',
  },
  {
    name: 'an internal error',
    code: 'server-error',
    cause: status('500 Internal Server Error'),
    message: 'reg.test answers with a server error: 500 Internal Server Error',
  },
  {
    name: 'maintenance',
    code: 'server-error',
    cause: status('503 Service Unavailable'),
    message: 'reg.test answers with a server error: 503 Service Unavailable',
  },
  {
    name: 'a status of some other server',
    code: 'not-a-registry',
    cause: status('418 Teapot'),
    message: 'reg.test answers 418 Teapot',
  },
  {
    name: 'credentials that are not base64',
    code: 'bad-credentials-file',
    cause: 'illegal base64 data at input byte 0',
    message: 'the credentials are not valid base64',
  },
  {
    name: 'a missing tag, repository or digest',
    code: 'not-found',
    status: 'NOT_FOUND',
    cause: `${REFERENCE}: not found`,
    message: `reg.test does not have ${REFERENCE}`,
  },
  {
    name: 'a server that answers every request with a text',
    code: 'login-page',
    status: 'UNIMPLEMENTED',
    cause: 'not implemented: media type "text/plain" is not supported',
    message: 'reg.test answered with a page (text/plain) instead of an image: a login portal or a web server',
  },
  {
    name: 'a redirect in a circle',
    code: 'redirect-loop',
    cause: request('stopped after 10 redirects'),
    message: 'reg.test redirects containerd in a loop',
  },
  {
    name: 'a login portal',
    code: 'login-page',
    status: 'NOT_FOUND',
    cause: `unexpected media type text/html for sha256:${'0'.repeat(64)}: not found`,
    message: 'reg.test answered with a page (text/html) instead of an image: a login portal or a web server',
  },
  {
    name: 'a missing CA file',
    code: 'ca-file-unreadable',
    cause: `unable to read CA cert "${CA}": open ${CA}: no such file or directory`,
    message: `containerd cannot read the CA file ${CA}: no such file or directory`,
  },
  {
    name: 'a folder in place of the CA file',
    code: 'ca-file-unreadable',
    cause: `unable to read CA cert "${CA}": read ${CA}: is a directory`,
    message: `containerd cannot read the CA file ${CA}: is a directory`,
  },
  {
    name: 'a CA file without a certificate',
    code: 'ca-file-unreadable',
    cause: `unable to load CA cert "${CA}"`,
    message: `the CA file ${CA} holds no PEM certificate that containerd can use`,
  },
  {
    name: 'a missing legacy CA file',
    code: 'ca-file-unreadable',
    cause:
      'get TLSConfig for registry "https://reg.test": failed to load CA file: open /nope.crt: no such file or directory',
    message: 'containerd cannot read the CA file /nope.crt of registry.configs: no such file or directory',
  },
  {
    name: 'a client certificate without its key',
    code: 'ca-file-unreadable',
    cause: 'failed to load X509 key pair: open /etc/containerd/certs.d/reg.test/client.key: no such file or directory',
    message: 'containerd cannot read the client certificate and key in the host directory',
  },
  {
    name: 'a file in place of the host directory',
    code: 'hosts-file-ignored',
    cause: 'open /etc/containerd/certs.d/reg.test/hosts.toml: not a directory',
    message: 'containerd cannot read /etc/containerd/certs.d/reg.test/hosts.toml: not a directory',
  },
  {
    name: 'a full disk',
    code: 'no-space',
    cause:
      'failed to copy: failed to send write: write /var/lib/containerd/io.containerd.content.v1.content/ingest/x/data: no space left on device',
    message: 'the disk of the node is full',
  },
  {
    name: 'a proxy that is down',
    code: 'proxy-error',
    cause: request('proxyconnect tcp: dial tcp 10.0.0.9:3128: connect: connection refused'),
    message: 'the proxy for reg.test cannot be used: dial tcp 10.0.0.9:3128: connect: connection refused',
  },
  {
    name: 'a proxy with an untrusted certificate',
    code: 'proxy-error',
    cause: request(
      'proxyconnect tcp: tls: failed to verify certificate: x509: certificate signed by unknown authority',
    ),
    message:
      'the proxy for reg.test cannot be used: tls: failed to verify certificate: x509: certificate signed by unknown authority',
  },
  {
    name: 'a proxy that forbids the host',
    code: 'proxy-error',
    cause: request('Forbidden'),
    message: 'the proxy refuses the connection to reg.test: Forbidden',
  },
  {
    name: 'a proxy that wants a login',
    code: 'proxy-error',
    cause: request('Proxy Authentication Required'),
    message: 'the proxy refuses the connection to reg.test: Proxy Authentication Required',
  },
  {
    name: 'a socket that went away',
    code: 'containerd-down',
    status: 'UNAVAILABLE',
    cause: 'connect ENOENT /run/containerd/containerd.sock',
    message: 'containerd went away or does not answer on its socket',
  },
  {
    name: 'a dead CRI plugin',
    code: 'cri-not-loaded',
    status: 'UNIMPLEMENTED',
    cause: 'unknown service runtime.v1.ImageService',
    message: 'containerd answers, but without its CRI plugin',
  },
  {
    name: 'an image that came completely and cannot be unpacked without rights',
    code: 'trusted',
    cause: 'failed to mount /tmp/r/root/tmpmounts/containerd-mount1: operation not permitted',
    message: 'the image was fetched completely from reg.test; unpacking it is not part of the proof',
  },
  {
    name: 'a text that nobody has seen yet',
    code: 'unclassified',
    cause: 'the flux capacitor is empty',
    message: `pulling ${REFERENCE} failed for a reason that this version does not recognise`,
  },
]

for (const { name, code, status: given = 'UNKNOWN', cause, message } of CASES)
  t.test(`${name} is ${code} on every generation`, async (t) => {
    for (const generation of GENERATIONS) {
      const text = FRAMES[generation] + (typeof cause === 'string' ? cause : cause[generation])
      const found = classifyPull({ ok: false, status: given, text }, { reference: REFERENCE, host: HOST })
      t.equal(found.code, code, generation)
      t.equal(found.message, message, generation)
      t.equal(found.evidence.reference, REFERENCE, generation)
      t.ok(found.remedy.length > 0, generation)
      t.equal(found.evidence.host, undefined, generation)
    }
  })

const classify = (text: string, host = HOST, code = 'UNKNOWN') =>
  classifyPull({ ok: false, status: code, text }, { reference: REFERENCE, host })

t.test('takes NOT_FOUND for an answer of the registry only where the text ends with the reference', async (t) => {
  const other = classify(`${FRAMES['2.1']}content digest sha256:00: not found`, HOST, 'NOT_FOUND')
  t.equal(other.code, 'unclassified')
  const elsewhere = classify(`${FRAMES['2.1']}reg.test/other/image:1: not found`, HOST, 'NOT_FOUND')
  t.equal(elsewhere.code, 'unclassified')
})

t.test('an untrusted token service on another host is named', async (t) => {
  const found = classify(
    `${FRAMES['1.7']}failed to authorize: failed to fetch oauth token: Post "https://auth.test:8443/service/token": tls: failed to verify certificate: x509: certificate signed by unknown authority`,
  )
  t.equal(found.code, 'token-host-untrusted')
  t.equal(found.evidence.host, 'auth.test:8443')
  t.match(found.message, /^reg\.test sends containerd to auth\.test:8443 for tokens: no trusted CA verifies/)
})

t.test('an untrusted token service on the registry host is the registry itself', async (t) => {
  const found = classify(
    `${FRAMES['1.7']}failed to authorize: failed to fetch anonymous token: Get "https://reg.test/token?scope=x": x509: certificate signed by unknown authority`,
  )
  t.equal(found.code, 'unknown-authority')
  t.equal(found.evidence.host, undefined)
})

t.test('an untrusted host behind a redirect is named, without the signature in its address', async (t) => {
  const found = classify(
    'failed to copy: httpReadSeeker: failed open: failed to do request: Get "https://blobs.test/bucket/sha256/ab?X-Amz-Credential=AKIA&X-Amz-Signature=5ecret": x509: certificate is valid for s3.test, not blobs.test',
  )
  t.equal(found.code, 'blob-host-untrusted')
  t.equal(found.evidence.host, 'blobs.test')
  t.match(found.message, /^reg\.test sends containerd to blobs\.test for the data: /)
  t.match(found.evidence.text, /https:\/\/blobs\.test\/bucket\/sha256\/ab\?…": x509/)
  t.notMatch(JSON.stringify(found), /AKIA|5ecret/)
})

t.test('a mirror is the registry under another name', async (t) => {
  const found = classify(
    `${FRAMES['1.7']}failed to do request: Head "https://mirror.lab:5001/v2/registry-trust/probe/manifests/x?ns=reg.test": x509: certificate signed by unknown authority`,
  )
  t.equal(found.code, 'unknown-authority')
  t.equal(found.evidence.host, 'mirror.lab:5001')
  t.match(found.message, /certificate of mirror\.lab:5001/)
})

t.test('the port 443 and the host behind docker.io are the registry itself', async (t) => {
  const at = (url: string) => `failed to do request: Head "${url}": x509: certificate signed by unknown authority`
  t.equal(classify(at('https://reg.test/v2/x/manifests/1'), 'reg.test:443').code, 'unknown-authority')
  t.equal(classify(at('https://reg.test:443/v2/x/manifests/1'), 'reg.test').code, 'unknown-authority')
  t.equal(classify(at('https://registry-1.docker.io/v2/x/manifests/1'), 'docker.io').evidence.host, undefined)
  t.equal(classify(at('https://reg.test:8443/v2/x/manifests/1'), 'reg.test').code, 'blob-host-untrusted')
})

t.test('a password in the address of a proxy is not repeated', async (t) => {
  const found = classify(
    `${FRAMES['1.7']}failed to do request: Head "${V2}": proxyconnect tcp: parse "http://user:hunter2@proxy.test:3128": bad`,
  )
  t.equal(found.code, 'proxy-error')
  t.notMatch(JSON.stringify(found), /hunter2/)
})

t.test('a text of any length gives a short finding that still names image and cause', async (t) => {
  const names = Array.from({ length: 200_000 }, (_, index) => `n${index}.test`).join(', ')
  const found = classify(`${FRAMES['1.7']}${request(`x509: certificate is valid for ${names}, not reg.test`)}`)
  t.ok(JSON.stringify(found).length < 5_000)
  t.ok(found.evidence.text?.startsWith('failed to pull and unpack image "reg.test/'))
  t.ok(found.evidence.text?.endsWith('not reg.test'))
  t.equal(found.code, 'hostname-mismatch')
})

t.test('text of a server that looks like a template stays text', async (t) => {
  const found = classify(request('x509: $1 HOST $& weird'))
  t.equal(found.message, 'the certificate of reg.test does not verify: $1 HOST $& weird')
})
