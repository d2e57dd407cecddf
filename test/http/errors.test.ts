import t from 'tap'
import { AgentError } from '../../agent/model/errors.ts'
import { startFixture } from '../fixtures/http/served-page.ts'

type ErrorBody = { readonly code: string; readonly message: string; readonly remedy: string }

t.test('an unknown path is a JSON 404 that names the paths there are', async (t) => {
  const { server } = startFixture(t)
  const answer = await server.inject({ url: '/statu' })
  t.equal(answer.statusCode, 404)
  const body = answer.json<ErrorBody>()
  t.equal(body.code, 'NOT_FOUND')
  t.match(body.message, /^there is nothing at \/statu; did you mean \/status\? \(the paths are: \/livez, /)
  t.not(body.remedy, '')
})

t.test('the wrong method is a 405 with the Allow header', async (t) => {
  const { server } = startFixture(t)
  for (const [method, url, allow] of [
    ['GET', '/reconcile', 'POST'],
    ['POST', '/status', 'GET, HEAD'],
    ['DELETE', '/status/registries/harbor.example.net', 'GET, HEAD'],
  ] as const) {
    const answer = await server.inject({ method, url })
    t.equal(answer.statusCode, 405, url)
    t.equal(answer.headers['allow'], allow)
    t.equal(answer.json<ErrorBody>().code, 'METHOD_NOT_ALLOWED')
  }
})

t.test('a URL that cannot be decoded is a JSON 400', async (t) => {
  const { server } = startFixture(t)
  const answer = await server.inject({ url: '/status/registries/%E0%A4%A' })
  t.equal(answer.statusCode, 400)
  t.equal(answer.json<ErrorBody>().code, 'REQUEST_INVALID')
})

t.test('a defect inside tells the client nothing of it, and the log everything', async (t) => {
  const { server, entries } = startFixture(t, {
    status: () => {
      throw new TypeError('canary: x of undefined')
    },
  })
  const answer = await server.inject({ url: '/status' })
  t.equal(answer.statusCode, 500)
  t.equal(answer.json<ErrorBody>().code, 'INTERNAL')
  t.notMatch(answer.body, /canary/)
  const logged = entries.find(({ event }) => event === 'http-request-failed')
  t.match(logged, { level: 'error', fields: { path: '/status', error: { message: /canary/ } } })
})

t.test('an AgentError keeps its code, message and remedy, but no URL password', async (t) => {
  const { server } = startFixture(t, {
    status: () => {
      throw new AgentError('CRI_UNREACHABLE', 'no answer, proxy https://u:canary@proxy.example.net')
    },
  })
  const answer = await server.inject({ url: '/status' })
  t.equal(answer.statusCode, 503)
  t.equal(answer.json<ErrorBody>().message, 'no answer, proxy https://[redacted]@proxy.example.net')
})

t.test('every answer carries the security headers and is not cached', async (t) => {
  const { server } = startFixture(t)
  for (const url of ['/', '/status', '/livez', '/metrics', '/nowhere']) {
    const { headers } = await server.inject({ url })
    t.match(
      headers,
      {
        'x-content-type-options': 'nosniff',
        'x-frame-options': 'DENY',
        'referrer-policy': 'no-referrer',
        'cross-origin-resource-policy': 'same-origin',
        'cache-control': 'no-store',
        'content-security-policy': /^default-src 'none'; /,
      },
      url,
    )
  }
})

t.test('requests are logged at debug level by path, without their query', async (t) => {
  const { server, entries } = startFixture(t)
  await server.inject({ url: '/livez?token=canary' })
  t.match(entries, [{ level: 'debug', event: 'http-request', fields: { method: 'GET', path: '/livez', status: 200 } }])
  t.notMatch(JSON.stringify(entries), /canary/)
})
