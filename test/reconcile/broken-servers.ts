// The broken servers that people really have, one row each: what is served, what is declared, which finding must come out, and the
// remedy on our side where there is one. The table is what the matrix test walks over on every containerd.
import type { FindingCode } from '../../agent/model/finding.ts'
import type { Certificate } from '../node/certificates.ts'
import { type Fault, type FixedAnswer, PORTAL } from '../node/tls-servers.ts'
import { AUTHORITY, certify, serverFor } from './odd-certificates.ts'

export type Row = {
  readonly host: string
  readonly code: FindingCode
  /** Absent: nothing listens there. */
  readonly server?: {
    readonly fault: Fault
    readonly certificate?: Certificate
    readonly answer?: FixedAnswer
    readonly clientAuthority?: Certificate
  }
  /** Declared for the host, by name. */
  readonly anchors?: { readonly [name: string]: string }
  /** Declared for others. */
  readonly others?: { readonly [name: string]: string }
  readonly message?: RegExp
  /** What a person declares, having read the finding: then the pull must work. */
  readonly remedy?: { readonly [name: string]: string }
  /** No name at all, a name without an address, or the server's address in place of a name. */
  readonly name?: 'none' | 'address-only' | 'by-address'
  readonly timeoutMs?: number
}

export type Matrix = { readonly rows: readonly Row[]; readonly systemRoot: Certificate; readonly issuing: Certificate }

/** The first address that a fixture node gives out. */
export const FIRST_ADDRESS = '192.0.2.10'
export const ISSUER_HOST = 'pki.example.net'
const MISSING: FixedAnswer = { status: 404, headers: { 'docker-distribution-api-version': 'registry/2.0' } }

export async function brokenServers(folder: string): Promise<Matrix> {
  const root = (name: string, options = {}) => certify(folder, `/O=Matrix/CN=${name}`, options)
  const [systemRoot, corp, corpOld, other, rekeyed, expiredRoot] = await Promise.all([
    root('System Root'),
    root('Corp Root G2', { key: 'rsa' }),
    root('Corp Root G1', { from: -900, until: -300 }),
    root('Other Root'),
    root('Corp Root G2', { key: 'rsa' }),
    root('Worn Root', { from: -900, until: -1 }),
  ])
  const renewedRoot = await root('Worn Root', { keyOf: expiredRoot })
  const under = (issuer: Certificate, name: string, options = {}) =>
    certify(folder, `/O=Matrix/CN=${name}`, { issuer, ...options })
  const constraints = 'nameConstraints = critical, @constraints'
  const noSign = ['basicConstraints = critical, CA:FALSE', 'keyUsage = critical, digitalSignature']
  const [issuing, worn, weak, narrow, noCa, short] = await Promise.all([
    under(corp, 'Corp Issuing'),
    under(corp, 'Worn Issuing', { from: -9, until: -1 }),
    under(corp, 'Weak Issuing', { digest: 'sha1' }),
    under(corp, 'Narrow Issuing', { extensions: [...AUTHORITY, constraints] }),
    under(corp, 'No Authority', { extensions: noSign }),
    under(corp, 'Short Issuing', { extensions: ['basicConstraints = critical, CA:TRUE, pathlen:0', AUTHORITY[1]] }),
  ])
  const below = await under(short, 'Below Short')
  const server = async (host: string, issuer: Certificate | undefined, options = {}) =>
    certify(folder, `/CN=${host}`, {
      extensions: serverFor(`${host}.example.net`),
      ...(issuer && { issuer }),
      ...options,
    })
  const answer = (certificate: Certificate, fixed: FixedAnswer = MISSING) => ({
    fault: 'answer' as const,
    certificate,
    answer: fixed,
  })
  const declared = { corp: corp.pem }
  const self = await certify(folder, '/CN=self', {
    extensions: serverFor('self.example.net', 'selfdeclared.example.net'),
  })
  const [san, purpose, email] = [
    serverFor('purpose.example.net')[2] ?? '',
    'extendedKeyUsage = clientAuth',
    'subjectAltName = email:a@example.net',
  ]
  const aia = `authorityInfoAccess = caIssuers;URI:http://${ISSUER_HOST}/issuing.crt`
  const good = (host: string) => server(host, corp)
  const token = 'Bearer realm="https://token.example.net/token",service="matrix"'

  const rows: readonly Row[] = [
    {
      host: 'system',
      code: 'trusted',
      server: answer(await server('system', systemRoot)),
      message: /this node's own trust store/,
    },
    {
      host: 'declared',
      code: 'trusted',
      anchors: declared,
      server: answer(await good('declared')),
      message: /by the anchor corp/,
    },
    {
      host: 'jumbled',
      code: 'trusted',
      anchors: declared,
      server: answer(await server('jumbled', issuing, { sends: [corp, other, issuing] })),
    },
    {
      host: 'selfdeclared',
      code: 'trusted',
      anchors: { self: self.pem },
      server: answer(self),
    },
    {
      host: 'unknown',
      code: 'unknown-authority',
      server: answer(await server('unknown', other)),
      remedy: { other: other.pem },
      message: /issued by "Other Root".*neither served nor trusted/,
    },
    {
      host: 'replaced',
      code: 'unknown-authority',
      anchors: { old: corpOld.pem },
      server: answer(await good('replaced')),
      remedy: declared,
      message: /issued by "Corp Root G2".*you declared "Corp Root G1" \(sha256:[0-9a-f]{64}\), which expired/,
    },
    {
      host: 'rekeyed',
      code: 'unknown-authority',
      anchors: { corp: rekeyed.pem },
      server: answer(await good('rekeyed')),
      remedy: declared,
      message: /you declared "Corp Root G2".*has that name but another key/,
    },
    {
      host: 'unsent',
      code: 'missing-intermediate',
      anchors: declared,
      server: answer(await server('unsent', issuing, { extensions: [...serverFor('unsent.example.net'), aia] })),
      remedy: { issuing: issuing.pem },
      message: /does not send its intermediate certificate "Corp Issuing"/,
    },
    {
      host: 'unsentknown',
      code: 'missing-intermediate',
      anchors: declared,
      others: { issuing: issuing.pem },
      server: answer(await server('unsentknown', issuing)),
      remedy: { issuing: issuing.pem },
    },
    {
      host: 'unproven',
      code: 'unknown-authority',
      anchors: declared,
      server: answer(await server('unproven', issuing)),
      remedy: { issuing: issuing.pem },
    },
    {
      host: 'elsewhere',
      code: 'unknown-authority',
      anchors: declared,
      others: { lab: other.pem },
      server: answer(await server('elsewhere', other)),
      remedy: { lab: other.pem },
      message: /the anchor lab .* is not declared for it/,
    },
    {
      host: 'self',
      code: 'unknown-authority',
      server: answer(self),
      remedy: { self: self.pem },
      message: /self-signed certificate/,
    },
    {
      host: 'rootserved',
      code: 'unknown-authority',
      server: answer(await server('rootserved', other, { sends: [other] })),
      remedy: { other: other.pem },
      message: /ends in the root "Other Root"/,
    },
    {
      host: 'misnamed',
      code: 'hostname-mismatch',
      anchors: declared,
      server: answer(await good('elsehost')),
      message: /valid for elsehost\.example\.net, not for misnamed/,
    },
    { host: 'too.deep', code: 'hostname-mismatch', anchors: declared, server: answer(await server('*', corp)) },
    {
      host: 'cn.example.net',
      code: 'no-san',
      anchors: declared,
      server: answer(await server('cn.example.net', corp, { extensions: ['basicConstraints = CA:FALSE'] })),
      message: /common name only/,
    },
    {
      host: 'nameless',
      code: 'no-san',
      anchors: declared,
      server: answer(await server('nameless', corp, { extensions: ['basicConstraints = CA:FALSE', email] })),
    },
    {
      host: 'addressless',
      code: 'no-san',
      anchors: declared,
      name: 'by-address',
      server: answer(await good('addressless')),
      message: /no subjectAltName for the address/,
    },
    {
      host: 'addressed',
      code: 'trusted',
      anchors: declared,
      name: 'by-address',
      server: answer(await server('addressed', corp, { extensions: serverFor(FIRST_ADDRESS) })),
    },
    {
      host: 'expired',
      code: 'expired',
      anchors: declared,
      server: answer(await server('expired', corp, { from: -9, until: -1 })),
      message: /the certificate of expired\.example\.net expired on/,
    },
    {
      host: 'early',
      code: 'not-yet-valid',
      anchors: declared,
      server: answer(await server('early', corp, { from: 1, until: 9 })),
    },
    {
      host: 'wornissuer',
      code: 'expired',
      anchors: declared,
      server: answer(await server('wornissuer', worn, { sends: [worn] })),
      message: /the intermediate CA "Worn Issuing".*expired/,
    },
    {
      host: 'wornroot',
      code: 'expired',
      anchors: { worn: expiredRoot.pem },
      server: answer(await server('wornroot', expiredRoot)),
      remedy: { worn: renewedRoot.pem },
      message: /of the anchor worn expired/,
    },
    {
      host: 'sha1',
      code: 'weak-signature',
      anchors: declared,
      server: answer(await server('sha1', corp, { digest: 'sha1' })),
      message: /SHA1-RSA/,
    },
    {
      host: 'sha1issuer',
      code: 'weak-signature',
      anchors: declared,
      server: answer(await server('sha1issuer', weak, { sends: [weak] })),
      remedy: { weak: weak.pem },
    },
    {
      host: 'narrow',
      code: 'unknown-authority',
      anchors: declared,
      server: answer(await server('narrow', narrow, { sends: [narrow] })),
      message: /may not certify this name: DNS name "narrow\.example\.net"/,
    },
    {
      host: 'purpose',
      code: 'unknown-authority',
      anchors: declared,
      server: answer(await server('purpose', corp, { extensions: [purpose, san] })),
      message: /not meant for servers/,
    },
    {
      host: 'noca',
      code: 'unknown-authority',
      anchors: declared,
      server: answer(await server('noca', noCa, { sends: [noCa] })),
      message: /may not sign/,
    },
    {
      host: 'pathlen',
      code: 'unknown-authority',
      anchors: declared,
      server: answer(await server('pathlen', below, { sends: [below, short] })),
      message: /fewer intermediate authorities/,
    },
    {
      host: 'critical',
      code: 'unknown-authority',
      anchors: declared,
      server: answer(
        await server('critical', corp, {
          extensions: [...serverFor('critical.example.net'), '1.2.3.4 = critical, ASN1:NULL'],
        }),
      ),
      message: /critical extension 1\.2\.3\.4/,
    },
    {
      host: 'curve',
      code: 'tls-version',
      anchors: declared,
      server: answer(await server('curve', corp, { key: 'secp256k1' })),
    },
    { host: 'plain', code: 'plain-http', server: { fault: 'plain-http' }, message: /speaks plain HTTP/ },
    {
      host: 'old',
      code: 'tls-version',
      anchors: declared,
      server: { fault: 'old-tls', certificate: await good('old') },
    },
    {
      host: 'mutual',
      code: 'client-certificate-required',
      anchors: declared,
      server: { fault: 'client-certificate', certificate: await good('mutual'), clientAuthority: corp },
    },
    { host: 'reset', code: 'refused', server: { fault: 'reset' } },
    { host: 'nobody', code: 'refused', name: 'address-only' },
    { host: 'nowhere', code: 'dns', name: 'none' },
    { host: 'silent', code: 'timeout', server: { fault: 'silent' }, timeoutMs: 400 },
    {
      host: 'mute',
      code: 'timeout',
      anchors: declared,
      server: { fault: 'silent-http', certificate: await good('mute') },
      timeoutMs: 800,
    },
    {
      host: 'closed',
      code: 'unauthorized',
      anchors: declared,
      server: answer(await good('closed'), { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } }),
    },
    {
      host: 'forbidden',
      code: 'forbidden',
      anchors: declared,
      server: answer(await good('forbidden'), { status: 403 }),
    },
    { host: 'busy', code: 'rate-limited', anchors: declared, server: answer(await good('busy'), { status: 429 }) },
    { host: 'sick', code: 'server-error', anchors: declared, server: answer(await good('sick'), { status: 503 }) },
    { host: 'portal', code: 'not-a-registry', anchors: declared, server: answer(await good('portal'), PORTAL) },
    {
      host: 'tokened',
      code: 'token-host-untrusted',
      anchors: declared,
      server: answer(await good('tokened'), { status: 401, headers: { 'www-authenticate': token } }),
      remedy: { corp: corp.pem, other: other.pem },
    },
    {
      host: 'token',
      code: 'unknown-authority',
      server: answer(await server('token', other), {
        status: 200,
        headers: { 'content-type': 'application/json' },
        body: '{"token":"anonymous"}',
      }),
    },
    {
      host: 'stored',
      code: 'blob-host-untrusted',
      anchors: declared,
      server: answer(await good('stored'), { status: 307, headers: { location: 'https://storage.example.net/data' } }),
      remedy: { corp: corp.pem, other: other.pem },
    },
    { host: 'storage', code: 'unknown-authority', server: answer(await server('storage', other)) },
  ]
  return { rows, systemRoot, issuing }
}
