import { Ajv } from 'ajv'
import t from 'tap'
import { ERRORS } from '../../agent/model/errors.ts'
import { type NodeStatus, STATUS_SCHEMA } from '../../agent/model/status.ts'
import { SAMPLE, TRUSTED, UNPROVED } from '../fixtures/http/sample-status.ts'
import { startFixture } from '../fixtures/http/served-page.ts'

const validate = new Ajv({ allErrors: true, allowUnionTypes: true }).compile(STATUS_SCHEMA)

t.test('the status leaves complete: every field of the contract, nothing lost or changed', async (t) => {
  const { server } = startFixture(t)
  const answer = await server.inject({ url: '/status' })
  t.equal(answer.statusCode, 200)
  t.strictSame(answer.json(), SAMPLE)
  t.ok(validate(answer.json()), JSON.stringify(validate.errors))
})

t.test('a node about which nothing is known yet has a valid status too', async (t) => {
  const empty: NodeStatus = {
    ...SAMPLE,
    generation: '',
    state: 'no-containerd',
    containerd: { version: null, socket: null, configFile: null, configVersion: null, configPath: null, layout: null },
    anchors: [],
    registries: [UNPROVED],
    drift: [],
    restart: { pending: false, reason: null, last: null },
    transactions: [],
    problems: [],
    sources: [],
  }
  const { server } = startFixture(t, { status: () => empty })
  const answer = await server.inject({ url: '/status' })
  t.strictSame(answer.json(), empty)
  t.ok(validate(answer.json()), JSON.stringify(validate.errors))
})

t.test('the schema refuses a status that lacks a field or has an unknown state', async (t) => {
  const { generation: _dropped, ...incomplete } = SAMPLE
  t.notOk(validate(incomplete))
  t.notOk(validate({ ...SAMPLE, state: 'fine' }))
  t.notOk(validate({ ...SAMPLE, extra: 1 }))
})

t.test('a field that was not declared never leaves, at any depth', async (t) => {
  const leaky = {
    ...SAMPLE,
    password: 'canary-1',
    containerd: { ...SAMPLE.containerd, auth: 'canary-2' },
    registries: [
      { ...TRUSTED, credentials: 'canary-3', finding: { ...TRUSTED.finding, evidence: { token: 'canary-4' } } },
    ],
  }
  const { server } = startFixture(t, { status: () => leaky as NodeStatus })
  for (const url of ['/status', `/status/registries/${TRUSTED.host}`, '/']) {
    const answer = await server.inject({ url })
    t.equal(answer.statusCode, 200, url)
    t.notMatch(answer.body, /canary/, url)
  }
})

t.test('one registry is found by host, by host:port, percent-encoded or not, in any case', async (t) => {
  const { server } = startFixture(t)
  for (const host of ['registry.example.net:5000', 'registry.example.net%3A5000', 'REGISTRY.example.net:5000']) {
    const answer = await server.inject({ url: `/status/registries/${host}` })
    t.equal(answer.statusCode, 200, host)
    t.strictSame(answer.json(), TRUSTED)
  }
})

t.test('an unknown registry is a 404 that says what was probably meant and what is declared', async (t) => {
  const { server } = startFixture(t)
  const answer = await server.inject({ url: '/status/registries/harbour.example.net' })
  t.equal(answer.statusCode, 404)
  t.strictSame(answer.json(), {
    code: 'NOT_FOUND',
    message:
      'registry "harbour.example.net" is not declared on this node; did you mean "harbor.example.net"? (declared: registry.example.net:5000, new.example.net, harbor.example.net)',
    remedy: ERRORS.NOT_FOUND.remedy,
  })
})

t.test('the list of declared registries in a 404 is bounded', async (t) => {
  const registries = Array.from({ length: 500 }, (_, index) => ({ ...TRUSTED, host: `r${index}.example.net` }))
  const { server } = startFixture(t, { status: () => ({ ...SAMPLE, registries }) })
  const { message } = (await server.inject({ url: '/status/registries/zzzzzzzzzzzzzzz' })).json<{ message: string }>()
  t.match(message, / and 480 more\)$/)
  t.ok(message.length < 1000)
})

t.test('a host of 253 characters and a port fit, a longer one is refused as JSON', async (t) => {
  const host = `${'a'.repeat(249)}.net:5000`
  const { server } = startFixture(t, { status: () => ({ ...SAMPLE, registries: [{ ...TRUSTED, host }] }) })
  t.equal((await server.inject({ url: `/status/registries/${host}` })).statusCode, 200)
  const tooLong = await server.inject({ url: `/status/registries/${'a'.repeat(2000)}` })
  t.equal(tooLong.statusCode, 414)
  t.equal(tooLong.json<{ code: string }>().code, 'REQUEST_INVALID')
})

t.test('the summary has a tag, and whoever knows it already gets no body', async (t) => {
  const { server } = startFixture(t)
  const first = await server.inject({ url: '/status/summary' })
  t.equal(first.statusCode, 200)
  t.match(first.json(), { node: SAMPLE.node, state: SAMPLE.state })
  const { etag } = first.headers
  const again = await server.inject({ url: '/status/summary', headers: { 'if-none-match': String(etag) } })
  t.equal(again.statusCode, 304)
  t.equal(again.body, '')
  const other = await server.inject({ url: '/status/summary', headers: { 'if-none-match': '"x"' } })
  t.equal(other.statusCode, 200)
})
