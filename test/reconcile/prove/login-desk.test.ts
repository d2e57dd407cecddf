// What is remembered of a login that was refused: nobody's account is locked by a proof that is repeated.
import t from 'tap'
import type { Clock, InputFiles, RegistryLogin } from '../../../agent/model/ports.ts'
import { nodeFiles } from '../../../agent/node/files/files.ts'
import { createLoginDesk } from '../../../agent/reconcile/prove/login.ts'
import { desired, registry } from '../../fixtures/scratch/sample.ts'

const HOST = 'harbor.example.net'
const WANTED = {
  ...registry(HOST),
  credentials: { kind: 'docker-config', path: '/config/regcred' },
} as const

t.test('a refused login is sent again when a person asks for it, and not before its pause is over', async (t) => {
  const auth = Buffer.from('u:wrong').toString('base64')
  const bytes = Buffer.from(JSON.stringify({ auths: { [HOST]: { auth } } }))
  const inputs: InputFiles = { read: async (path) => ({ kind: 'file', path, bytes }), list: async () => [] }
  let now = 0
  const clock: Clock = { now: () => now, monotonic: () => now, sleep: async () => undefined }
  let sent = 0
  const login: RegistryLogin = {
    async attempt() {
      sent += 1
      return { outcome: 'refused', by: HOST, status: 401 }
    },
  }
  const desk = createLoginDesk({ inputs, files: nodeFiles({ root: t.testdir() }), clock, login })
  const loginFor = desk.for(desired({ registries: [WANTED] }))
  const found = async () => await loginFor(WANTED, { timeoutMs: 1_000 })
  t.match(await found(), { kind: 'failed', finding: { code: 'login-refused' } })
  t.match(await found(), { kind: 'failed', finding: { code: 'login-refused' } })
  t.equal(sent, 1)
  desk.forgive()
  await found()
  t.equal(sent, 2, 'POST /prove?force')
  await found()
  t.equal(sent, 2, 'once')
  now += 3 * 3_600_000
  await found()
  t.equal(sent, 3, 'the pause is over')
})

t.test('a login that fails in a way that nobody foresaw is told of its registry alone', async (t) => {
  const auth = Buffer.from('u:right').toString('base64')
  const bytes = Buffer.from(JSON.stringify({ auths: { [HOST]: { auth } } }))
  const inputs: InputFiles = { read: async (path) => ({ kind: 'file', path, bytes }), list: async () => [] }
  const clock: Clock = { now: () => 0, monotonic: () => 0, sleep: async () => undefined }
  const login: RegistryLogin = { attempt: async () => Promise.reject(new Error('out of sockets')) }
  const desk = createLoginDesk({ inputs, files: nodeFiles({ root: t.testdir() }), clock, login })
  const loginFor = desk.for(desired({ registries: [WANTED] }))
  t.match(await loginFor(WANTED, { timeoutMs: 1_000 }), {
    kind: 'failed',
    finding: { code: 'login-untried', message: /out of sockets/ },
  })
  await t.rejects(loginFor(WANTED, { timeoutMs: 1_000, signal: AbortSignal.abort(new Error('the agent stops')) }), {
    message: 'the agent stops',
  })
})
