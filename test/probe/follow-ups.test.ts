// The other hosts that a pull needs, on real servers of this machine: two ports are two hosts.
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { systemClock } from '../../agent/node/clock.ts'
import { tlsProbe } from '../../agent/node/tls/tls.ts'
import { rootsInPem } from '../../agent/pki/chain/roots.ts'
import { bearerChallenge } from '../../agent/probe/challenge.ts'
import { targetOf } from '../../agent/probe/handshake.ts'
import { type ProbeReport, probeRegistry } from '../../agent/probe/probe.ts'
import { proveTls } from '../../agent/reconcile/prove/handshake.ts'
import {
  alternativeNames,
  basicConstraints,
  build,
  ecPair,
  keyPem,
  toPem,
} from '../fixtures/pki/certificate-builder.ts'

const DAY = 86_400_000
const dates = { notBefore: new Date(Date.now() - DAY), notAfter: new Date(Date.now() + 90 * DAY) }
const ports = { tls: tlsProbe(), clock: systemClock() }
const limits = { timeoutMs: 5_000 }

type Owner = { readonly pem: string; readonly chain: string; readonly key: string }

/** An authority and its server certificate for this machine. */
function owner(name: string): Owner {
  const [rootKey, leafKey] = [ecPair(), ecPair()]
  const root = build({
    subject: name,
    issuer: name,
    key: rootKey,
    signer: rootKey,
    ...dates,
    extensions: [basicConstraints(true)],
  })
  const names = alternativeNames([{ ip: '127.0.0.1' }])
  const leaf = build({ subject: 'server', issuer: name, key: leafKey, signer: rootKey, ...dates, extensions: [names] })
  return { pem: toPem(root), chain: toPem(leaf), key: keyPem(leafKey) }
}

const [mine, theirs] = [owner('My Root'), owner('Their Root')]

async function serve(t: Test, { chain, key }: Owner, answer: RequestListener): Promise<string> {
  const server = createHttpsServer({ cert: chain, key }, answer).on('tlsClientError', () => undefined)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

const rootsOf = (...owners: readonly Owner[]) =>
  owners.flatMap(({ pem }) => rootsInPem(pem)).map((certificate) => ({ certificate, origin: 'mine' }))

async function probe(registry: string, image?: string, ...owners: readonly Owner[]): Promise<ProbeReport> {
  const roots = rootsOf(...(owners.length > 0 ? owners : [mine]))
  return await probeRegistry({ registry, trust: { isDeclared: true, roots, otherAnchors: [] }, image }, ports, limits)
}

const told = ({ related }: ProbeReport) => related.map(({ host, finding }) => `${host} ${finding.code}`)
const DIGEST = `sha256:${'a'.repeat(64)}`

/** A registry with one image whose data lies elsewhere; wants an anonymous token where `token` is given. */
function registry(storage: () => string, seen: string[], challenge?: () => string): RequestListener {
  return ({ url = '', headers }, response) => {
    seen.push(url)
    const json = (body: object) =>
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    if (challenge !== undefined && headers.authorization !== 'Bearer anonymous') {
      response.writeHead(401, { 'www-authenticate': challenge() }).end()
    } else if (url === '/v2/') json({})
    else if (url.startsWith('/v2/_catalog')) json({ repositories: ['library/app'] })
    else if (url.includes('/tags/list')) json({ name: 'library/app', tags: ['1'] })
    else if (url.endsWith(`/manifests/${DIGEST}`)) json({ config: { digest: DIGEST } })
    else if (url.includes('/manifests/')) json({ manifests: [{ digest: DIGEST }] })
    else if (url.includes('/blobs/')) response.writeHead(307, { location: `${storage()}?sig=secret` }).end()
    else response.writeHead(404).end()
  }
}

t.test('finds the storage behind an image that anybody may list', async (t) => {
  const storage = await serve(t, theirs, (_, response) => response.end())
  const seen: string[] = []
  const host = await serve(
    t,
    mine,
    registry(() => `https://${storage}/data`, seen),
  )
  const report = await probe(host)
  t.equal(report.finding.code, 'trusted')
  t.same(told(report), [`${storage} blob-host-untrusted`])
  t.equal(
    report.related[0]?.finding.remedy,
    `Add the CA of ${storage} to the anchors of ${host}: containerd verifies ${storage} with them.`,
  )
  t.notMatch(JSON.stringify(report), /secret/, 'a signed address is not repeated')
  t.same(
    seen.map((url) => url.replace(DIGEST, 'DIGEST')),
    [
      '/v2/',
      '/v2/_catalog?n=1',
      '/v2/library/app/tags/list?n=1',
      '/v2/library/app/manifests/1',
      '/v2/library/app/manifests/DIGEST',
      '/v2/library/app/blobs/DIGEST',
    ],
  )
  t.same(told(await probe(host, undefined, mine, theirs)), [`${storage} trusted`])
})

t.test(
  'follows the declared image with an anonymous token, and sends nothing to a token service before it is verified',
  async (t) => {
    const asked: string[] = []
    const token = await serve(t, theirs, ({ url = '' }, response) => {
      asked.push(url)
      response.end(JSON.stringify({ token: 'anonymous' }))
    })
    const storage = await serve(t, mine, (_, response) => response.end())
    const seen: string[] = []
    const challenge = () => `Bearer realm="https://${token}/token",service="reg"`
    const host = await serve(
      t,
      mine,
      registry(() => `https://${storage}/data`, seen, challenge),
    )
    const image = `${host}/team/app:2`
    t.same(told(await probe(host, image)), [`${token} token-host-untrusted`, `${host} unauthorized`])
    t.same(asked, ['/'], 'an untrusted token service learns no image name')
    t.same(told(await probe(host, image, mine, theirs)), [`${token} trusted`, `${storage} trusted`])
    t.same(asked.at(-1), '/token?service=reg&scope=repository%3Ateam%2Fapp%3Apull')
    t.ok(seen.includes('/v2/team/app/manifests/2'))
  },
)

const HTML = { 'content-type': 'text/html; charset=utf-8' }

t.test('tells what the registry itself answers', async (t) => {
  const answers: readonly (readonly [RequestListener, readonly string[]])[] = [
    [(_, response) => response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end(), ['HOST unauthorized']],
    [
      (_, response) => response.writeHead(401, { 'www-authenticate': 'Bearer realm="ftp://x"' }).end(),
      ['HOST unauthorized'],
    ],
    [(_, response) => response.writeHead(403).end(), ['HOST forbidden']],
    [(_, response) => response.writeHead(429).end(), ['HOST rate-limited']],
    [(_, response) => response.writeHead(502).end(), ['HOST server-error']],
    // As containerd sees it: the image is not there.
    [(_, response) => response.writeHead(404).end(), []],
    [(_, response) => response.writeHead(404, HTML).end('<html>'), ['HOST not-a-registry']],
    [(_, response) => response.writeHead(200, HTML).end('<html>'), ['HOST login-page']],
    [(_, response) => response.writeHead(200, { 'content-type': 'text/plain' }).end('ok'), ['HOST login-page']],
    [
      (_, response) => response.writeHead(403, { ...HTML, 'x-squid-error': 'ERR_ACCESS_DENIED 0' }).end(),
      ['HOST proxy-error'],
    ],
    [(_, response) => response.writeHead(407).end(), ['HOST proxy-error']],
    [({ url }, response) => response.writeHead(302, { location: `${url}x` }).end(), ['HOST redirect-loop']],
    [
      ({ url }, response) =>
        url === '/login' ? response.writeHead(200, HTML).end() : response.writeHead(302, { location: '/login' }).end(),
      ['HOST login-page'],
    ],
    [
      (_, response) => response.writeHead(307, { location: 'http://elsewhere.invalid/' }).end(),
      ['elsewhere.invalid:80 plain-http-redirect'],
    ],
    [(_, response) => response.writeHead(307, { location: '/login' }).end(), ['HOST redirect-loop']],
    [({ url }, response) => response.end(url === '/v2/' ? '{}' : '{"repositories":["../x"]}'), []],
  ]
  for (const [answer, expected] of answers) {
    const host = await serve(t, mine, answer)
    t.same(
      told(await probe(host)).map((line) => line.replace(host, 'HOST')),
      expected,
    )
  }
})

t.test('tells warnings of the registry beside the verdict', async (t) => {
  const asked: readonly (readonly [string | string[], readonly string[]])[] = [
    ['299 - "Harbor 1.x ends in May"', ['Harbor 1.x ends in May']],
    [
      ['299 - "one, \\"quoted\\""', '299 - "two"'],
      ['one, "quoted"', 'two'],
    ],
    ['299 - "same", 299 - "same"', ['same']],
    ['110 - "Response is Stale"', []],
    ['299 cache.corp "of a cache"', []],
    ['299 - "a\tb"', ['a b']],
    [`299 - "${'x'.repeat(400)}"`, [`${'x'.repeat(300)}…`]],
    ['299 - "unclosed', []],
    [Array.from({ length: 9 }, (_, index) => `299 - "w${index}"`), ['w0', 'w1', 'w2', 'w3', 'w4']],
  ]
  for (const [warning, expected] of asked) {
    const host = await serve(t, mine, (_, response) =>
      response.setHeader('warning', warning).writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end(),
    )
    const { finding, related } = await probe(host)
    t.equal(finding.code, 'trusted')
    const texts = related.filter(({ finding: { code } }) => code === 'registry-warning')
    t.same(
      texts.map((one) => one.finding.evidence.text),
      expected,
    )
    t.ok(
      related.some(({ finding: { code } }) => code === 'unauthorized'),
      'what else is told of the host stays',
    )
  }
})

t.test('tells a name of the cluster from a name that does not exist', async (t) => {
  for (const host of ['no-such.registry.svc', 'no-such.registry.svc.cluster.local:5000', 'no-such-single-label'])
    t.equal((await probe(host)).finding.code, 'cluster-dns', host)
  t.equal((await probe('no-such.invalid')).finding.code, 'dns')
})

t.test('tells a clock that is far away', async (t) => {
  const host = await serve(t, mine, (_, response) =>
    response.writeHead(200, { date: new Date(Date.now() - 7_200_000).toUTCString() }).end(),
  )
  t.match(
    (await probe(host)).finding.evidence.notes?.at(-1),
    /^the server's clock .* is 120 minutes behind this node's/,
  )
})

t.test('follows nothing that an untrusted registry says', async (t) => {
  let asked = 0
  const other = createServer(() => (asked += 1)).listen(0, '127.0.0.1')
  await once(other, 'listening')
  t.teardown(() => other.close())
  const target = `127.0.0.1:${(other.address() as AddressInfo).port}`
  const host = await serve(t, theirs, (_, response) => {
    response.writeHead(401, { 'www-authenticate': `Bearer realm="https://${target}/token"` }).end()
  })
  const report = await probe(host)
  t.match(report, { finding: { code: 'unknown-authority' }, related: [], verifiedBy: null })
  t.equal(asked, 0)
})

const UNANCHORED = { anchors: [], proof: { level: 'tls', everyMs: 1 }, source: '' } as const

t.test('proves at level tls with exactly the anchors given', async (t) => {
  const host = await serve(t, mine, (_, response) => response.end())
  const registry = { ...UNANCHORED, host }
  t.match(await proveTls(registry, rootsOf(mine), ports, limits), {
    host,
    level: 'tls',
    by: 'tls',
    finding: { code: 'trusted' },
  })
  t.match(await proveTls(registry, rootsOf(theirs), ports, limits), { finding: { code: 'unknown-authority' } })
})

t.test(
  'tells apart the anchors that verify a chain, those that do not, and a host that cannot be reached',
  async (t) => {
    const host = await serve(t, mine, (_, response) => response.end())
    const prove = async (owners: readonly Owner[], registry = host) =>
      (await proveTls({ ...UNANCHORED, host: registry }, rootsOf(...owners), ports, limits)).finding
    t.match(await prove([mine]), { code: 'trusted' })
    t.match(await prove([mine, theirs]), { code: 'trusted' })
    t.match(await prove([theirs]), { code: 'unknown-authority', message: /"My Root"/ })
    t.match(await prove([]), { code: 'unknown-authority' })
    t.match(await prove([mine], '127.0.0.1:1'), { code: 'refused' })
  },
)

t.test('takes hosts and challenges apart', async (t) => {
  t.same(targetOf('reg.example.net'), { host: 'reg.example.net', port: 443 })
  t.same(targetOf('reg.example.net:5000'), { host: 'reg.example.net', port: 5000 })
  t.same(targetOf('[2001:db8::1]:5000'), { host: '2001:db8::1', port: 5000 })
  t.same(targetOf('[::1]'), { host: '::1', port: 443 })
  t.match(bearerChallenge('Bearer realm="https://a.b/t?x=1",service="s",scope="x"'), { service: 's' })
  t.equal(bearerChallenge('Bearer realm="https://a.b/t?x=1"')?.realm.href, 'https://a.b/t?x=1')
  for (const header of [
    '',
    'Basic realm="https://a.b"',
    'Bearer',
    'Bearer realm="file:///x"',
    `Bearer realm="${'x'.repeat(5_000)}"`,
  ]) {
    t.equal(bearerChallenge(header), undefined, header.slice(0, 40))
  }
})

t.test('finds the Bearer challenge wherever it stands', async (t) => {
  const bearer = 'Bearer realm="https://a.b/t",service="a, Basic realm"'
  for (const header of [
    bearer,
    `Basic realm="x", ${bearer}`,
    `Negotiate, Basic realm="Bearer realm=\\"https://no.no\\"", ${bearer}, Digest realm="y"`,
    `${bearer}, Basic realm="https://no.no/"`,
    'bEARER  service="a, Basic realm" ,realm=https://a.b/t',
  ])
    t.match(bearerChallenge(header), { realm: { href: 'https://a.b/t' }, service: 'a, Basic realm' }, header)
  t.equal(bearerChallenge('Basic realm="x", Digest realm="https://no.no"'), undefined)
})
