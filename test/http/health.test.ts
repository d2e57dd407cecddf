import t from 'tap'
import type { Health } from '../../agent/http/health.ts'
import { startFixture } from '../fixtures/http/served-page.ts'

const FAILING: Health = {
  ready: false,
  checks: [
    { name: 'config', ok: true, message: 'ignored when ok' },
    { name: 'containerd', ok: false, message: 'socket refused\n[+]forged ok' },
  ],
}

t.test('a healthy agent answers each health route with ok', async (t) => {
  const { server } = startFixture(t)
  for (const url of ['/livez', '/readyz', '/healthz', '/readyz?verbose=false']) {
    const answer = await server.inject({ url })
    t.equal(answer.statusCode, 200, url)
    t.equal(answer.body, 'ok\n', url)
    t.equal(answer.headers['content-type'], 'text/plain; charset=utf-8')
  }
})

t.test('verbose lists the checks as kube-apiserver does', async (t) => {
  const { server } = startFixture(t)
  t.equal((await server.inject({ url: '/readyz?verbose' })).body, '[+]config ok\nreadyz check passed\n')
  t.equal((await server.inject({ url: '/healthz?verbose' })).body, '[+]loop ok\n[+]config ok\nhealthz check passed\n')
})

t.test('a failing check gives 503 and is named without being asked for, on one line', async (t) => {
  const { server } = startFixture(t, { readiness: () => FAILING })
  const answer = await server.inject({ url: '/readyz' })
  t.equal(answer.statusCode, 503)
  t.equal(answer.body, '[+]config ok\n[-]containerd failed: socket refused [+]forged ok\nreadyz check failed\n')
  t.equal((await server.inject({ url: '/livez' })).statusCode, 200, 'liveness does not depend on readiness')
  t.equal((await server.inject({ url: '/healthz' })).statusCode, 503, 'healthz is both')
})

t.test('HEAD works where GET does, for load balancers', async (t) => {
  const { server } = startFixture(t, { readiness: () => FAILING })
  t.equal((await server.inject({ method: 'HEAD', url: '/readyz' })).statusCode, 503)
  t.equal((await server.inject({ method: 'HEAD', url: '/livez' })).statusCode, 200)
})
