import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import { type AddressInfo, createServer as createPlain } from 'node:net'
import t, { type Test } from 'tap'
import { Secret } from '../../../agent/model/secret.ts'
import { parseChallenge, registryLogin } from '../../../agent/node/tls/registry-login.ts'
import { createAuthority, issueServer } from '../../fixtures/node/certificates.ts'

const PASSWORD = 'hunter2'
const credentials = { kind: 'password', username: 'u', password: new Secret(PASSWORD) } as const

/** A registry on loopback with a certificate of its own CA; what it was asked is kept. */
async function serve(t: Test, answer: (request: IncomingMessage, response: ServerResponse) => void) {
  const folder = t.testdir({})
  const authority = await createAuthority(folder, 'Root')
  const { chainFile, keyFile } = await issueServer(authority, folder, ['127.0.0.1'])
  const authorizations: (string | undefined)[] = []
  const server = createServer({ cert: readFileSync(chainFile), key: readFileSync(keyFile) }, (request, response) => {
    authorizations.push(request.headers.authorization)
    answer(request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const origin = `https://127.0.0.1:${(server.address() as AddressInfo).port}`
  const attempt = (roots: readonly string[] = [authority.pem], tokenHosts: readonly string[] = [], timeoutMs = 2_000) =>
    registryLogin().attempt({ server: origin, credentials, tokenHosts, repository: 'a/b', roots }, { timeoutMs })
  return { origin, authorizations, attempt, authority }
}

const challenge =
  (value: string, status = 401) =>
  (_: IncomingMessage, response: ServerResponse) =>
    void response.writeHead(status, { 'www-authenticate': value }).end()

t.test('challenges as registries write them', async (t) => {
  t.same(parseChallenge('Bearer realm="https://h/t?a=b,c",service="s",scope="x"'), {
    scheme: 'bearer',
    parameters: { realm: 'https://h/t?a=b,c', service: 's', scope: 'x' },
  })
  t.same(parseChallenge('Basic realm="a \\"b\\""').parameters, { realm: 'a "b"' })
  t.equal(parseChallenge('basic').scheme, 'basic')
  t.equal(parseChallenge('Negotiate, Basic realm=x').scheme, 'basic')
  t.equal(parseChallenge('Negotiate').scheme, '')
})

t.test('nothing is sent to a server that the roots do not verify', async (t) => {
  const { attempt, authorizations } = await serve(t, challenge('Basic realm="x"'))
  const other = await createAuthority(t.testdir({}), 'Other')
  t.match(await attempt([other.pem]), { outcome: 'failed', reason: /issuer cert/ })
  t.match(await attempt([]), { outcome: 'failed' })
  t.same(authorizations, [])
})

t.test('a wrong password is sent once', async (t) => {
  const { attempt, authorizations } = await serve(t, challenge('Basic realm="x"'))
  t.match(await attempt(), { outcome: 'refused', status: 401 })
  t.equal(authorizations.filter((one) => one !== undefined).length, 1)
})

t.test('a registry that lets everybody in never sees the password', async (t) => {
  const { attempt, authorizations } = await serve(t, (_, response) => void response.end())
  t.same(await attempt(), { outcome: 'not-asked' })
  t.same(authorizations, [undefined])
})

t.test('a token service that cannot be asked is an answer, and its name is in it', async (t) => {
  const said = (host: string) => challenge(`Bearer realm="https://${host}/token",service="s"`)
  const closed = '127.0.0.1:1'
  const away = await serve(t, said(closed))
  t.match(await away.attempt(undefined, [closed]), { outcome: 'failed', reason: /127\.0\.0\.1:1\b.*ECONNREFUSED/ })
  const unknown = await serve(t, (_, response) => void response.end())
  const host = new URL(unknown.origin).host
  const distrusting = await serve(t, said(host))
  t.match(await distrusting.attempt(undefined, [host]), {
    outcome: 'failed',
    reason: new RegExp(`${host}.*(issuer|self)`),
  })
  t.same(unknown.authorizations, [])
  const silent = createPlain().listen(0, '127.0.0.1')
  await once(silent, 'listening')
  t.teardown(() => silent.close())
  const mute = `127.0.0.1:${(silent.address() as AddressInfo).port}`
  const waiting = await serve(t, said(mute))
  t.match(await waiting.attempt(undefined, [mute], 300), {
    outcome: 'failed',
    reason: `${mute} did not answer in time`,
  })
})

t.test('a token service without TLS gets no password', async (t) => {
  const { attempt, authorizations } = await serve(t, challenge('Bearer realm="http://127.0.0.1:1/token",service="s"'))
  t.match(await attempt(), { outcome: 'failed', reason: /not reached by https/ })
  t.same(authorizations, [undefined])
})

t.test('a redirect is not followed', async (t) => {
  const { attempt, authorizations } = await serve(
    t,
    (_, response) => void response.writeHead(302, { location: 'https://127.0.0.1:1/' }).end(),
  )
  t.match(await attempt(), { outcome: 'failed', reason: /answered 302/ })
  t.equal(authorizations.length, 1)
})

t.test('a server error says nothing about the password', async (t) => {
  let asked = 0
  const { attempt } = await serve(t, (request, response) => {
    asked += 1
    if (asked === 1) challenge('Basic realm="x"')(request, response)
    else response.writeHead(503).end()
  })
  t.match(await attempt(), { outcome: 'failed', reason: /answered 503/ })
})

t.test('no reason repeats the password', async (t) => {
  const { attempt } = await serve(t, (request, response) => {
    if (request.headers.authorization === undefined) challenge('Basic realm="x"')(request, response)
    else request.socket.destroy()
  })
  t.notMatch(
    JSON.stringify(await attempt()),
    new RegExp(`${PASSWORD}|${Buffer.from(`u:${PASSWORD}`).toString('base64')}`),
  )
})
