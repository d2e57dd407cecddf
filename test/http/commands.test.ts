import t from 'tap'
import { AgentError } from '../../agent/model/errors.ts'
import { startFixture } from '../fixtures/http/served-page.ts'

const TOKEN = 'canary-right-token'
const token = async (): Promise<string | undefined> => `${TOKEN}\n`
const headers = { authorization: `Bearer ${TOKEN}` }

t.test('a command with the right token is taken', async (t) => {
  const { server, commands } = startFixture(t, { token })
  const answer = await server.inject({ method: 'POST', url: '/reconcile', headers })
  t.equal(answer.statusCode, 202)
  t.strictSame(answer.json(), { accepted: true, force: false })
  await server.inject({ method: 'POST', url: '/reconcile?force', headers })
  await server.inject({ method: 'POST', url: '/prove?force=true', headers })
  await server.inject({ method: 'POST', url: '/prove?force=false', headers })
  t.strictSame(commands, ['reconcile force=false', 'reconcile force=true', 'prove force=true', 'prove force=false'])
})

t.test('without, or with a wrong, bearer token a command is refused with 401 and not run', async (t) => {
  const { server, commands, entries } = startFixture(t, { token })
  const wrong = [
    undefined,
    '',
    'Bearer',
    'Bearer ',
    'Bearer wrong',
    `Bearer ${TOKEN}x`,
    `Basic ${TOKEN}`,
    `Bearer ${TOKEN} ${TOKEN}`,
    TOKEN,
  ]
  for (const url of ['/reconcile', '/prove', '/loglevel?level=debug']) {
    for (const authorization of wrong) {
      const answer = await server.inject({
        method: 'POST',
        url,
        headers: authorization === undefined ? {} : { authorization },
      })
      t.equal(answer.statusCode, 401, `${url} ${authorization}`)
      t.equal(answer.json<{ code: string }>().code, 'UNAUTHENTICATED')
      t.equal(answer.headers['www-authenticate'], 'Bearer realm="registry-trust"')
    }
  }
  t.strictSame(commands, [])
  t.equal(entries.filter(({ level, event }) => level === 'warn' && event === 'command-denied').length, 3 * wrong.length)
  t.notMatch(JSON.stringify(entries), /canary/, 'no token in the log')
})

t.test('the level of the log is changed for a while, and what is not understood is told', async (t) => {
  const { server, commands, entries } = startFixture(t, { token })
  const post = (url: string) => server.inject({ method: 'POST', url, headers })
  const answer = await post('/loglevel?level=debug&for=1h30m')
  t.equal(answer.statusCode, 200)
  t.strictSame(answer.json(), { level: 'debug', until: '2026-11-21T12:30:00.000Z' })
  t.strictSame((await post('/loglevel?level=error')).json(), { level: 'error', until: '2026-11-21T11:10:00.000Z' })
  t.strictSame(commands, ['loglevel debug 5400000', 'loglevel error 600000'])
  const wrong: readonly (readonly [string, RegExp])[] = [
    ['', /level must be one of debug, info, warn, error/],
    ['?level=verbose', /level must be one of/],
    ['?level=debug&level=info', /level must be one of/],
    ['?level=debug&for=soon', /for must be a duration/],
    ['?level=debug&for=', /for must be a duration/],
    ['?level=debug&for=1s&for=2s', /for must be a duration/],
    ['?level=debug&for=25h', /for must be between 1s and 24h/],
    ['?level=debug&time=1s', /there is no parameter "time"; the parameters are: level, for/],
  ]
  for (const [query, message] of wrong) {
    const refused = await post(`/loglevel${query}`)
    t.equal(refused.statusCode, 400, query)
    t.match(refused.json(), { code: 'REQUEST_INVALID', message }, query)
  }
  t.equal(commands.length, 2)
  t.match(entries.find(({ event }) => event === 'command-accepted')?.fields, { path: '/loglevel', level: 'debug' })
})

t.test('where no token is configured commands are forbidden, whatever is presented', async (t) => {
  for (const absent of [undefined, async () => undefined, async () => '', async () => ' \n']) {
    const { server, commands } = startFixture(t, absent === undefined ? {} : { token: absent })
    for (const authorization of ['Bearer ', 'Bearer undefined', 'Bearer x', '']) {
      const answer = await server.inject({ method: 'POST', url: '/prove', headers: { authorization } })
      t.equal(answer.statusCode, 403)
      t.equal(answer.json<{ code: string }>().code, 'NO_TOKEN_CONFIGURED')
    }
    t.strictSame(commands, [])
  }
})

t.test('a rotated token counts with the next request', async (t) => {
  let current = 'first'
  const { server } = startFixture(t, { token: async () => current })
  const post = async (presented: string): Promise<number> =>
    (await server.inject({ method: 'POST', url: '/prove', headers: { authorization: `Bearer ${presented}` } }))
      .statusCode
  t.equal(await post('first'), 202)
  current = 'second'
  t.equal(await post('first'), 401)
  t.equal(await post('second'), 202)
})

t.test('a token file that cannot be read refuses the command with its reason', async (t) => {
  const unreadable = async (): Promise<never> => {
    throw new AgentError('ANCHOR_UNREADABLE', '/token: permission denied')
  }
  const { server, commands } = startFixture(t, { token: unreadable })
  const answer = await server.inject({ method: 'POST', url: '/prove', headers })
  t.equal(answer.statusCode, 503)
  t.strictSame(commands, [])
})

t.test('a small body of any content type is ignored, a large one refused', async (t) => {
  const { server, commands } = startFixture(t, { token })
  for (const type of ['application/json', 'application/x-www-form-urlencoded', 'text/plain', 'x/y']) {
    const answer = await server.inject({
      method: 'POST',
      url: '/prove',
      headers: { ...headers, 'content-type': type },
      payload: '{nonsense',
    })
    t.equal(answer.statusCode, 202, type)
  }
  const empty = await server.inject({
    method: 'POST',
    url: '/prove',
    headers: { ...headers, 'content-type': 'application/json' },
  })
  t.equal(empty.statusCode, 202, 'empty JSON body')
  const before = commands.length
  const large = await server.inject({ method: 'POST', url: '/prove', headers, payload: 'x'.repeat(2000) })
  t.equal(large.statusCode, 413)
  t.equal(large.json<{ code: string }>().code, 'REQUEST_INVALID')
  t.equal(commands.length, before)
})

t.test('a command that cannot be queued answers with its error', async (t) => {
  const { server } = startFixture(t, {
    token,
    onReconcile: () => {
      throw new AgentError('LOCKED', 'another agent (pid 7) works on this node')
    },
  })
  const answer = await server.inject({ method: 'POST', url: '/reconcile', headers })
  t.equal(answer.statusCode, 409)
  t.match(answer.json(), { code: 'LOCKED', message: /pid 7/ })
})
