import fc from 'fast-check'
import t from 'tap'
import { AgentError } from '../../agent/model/errors.ts'
import { isSecretName, Secret } from '../../agent/model/secret.ts'
import { redactFields } from '../../agent/telemetry/redact.ts'

const SECRET_NAMES = [
  'password',
  'Password',
  'userPassword',
  'passwd',
  'passphrase',
  'passwordFile',
  'secret',
  'clientSecret',
  'token',
  'identitytoken',
  'registry_token',
  'authorization',
  'Proxy-Authorization',
  'auth',
  'auths',
  'registryAuth',
  'proxy_auth',
  'cookie',
  'Set-Cookie',
  'credentials',
  'key',
  'privateKey',
  'private_key',
  'private-key',
  'clientKey',
  'apiKey',
  'tls.key',
  '.dockerconfigjson',
  'pwd',
  'pass',
  'user_pass',
  'REGISTRY_PASS',
  'dbPass',
  'Passwort',
]
const PLAIN_NAMES = [
  'host',
  'path',
  'author',
  'authority',
  'monkey',
  'keyboard',
  'state',
  'code',
  'reason',
  'fingerprint',
  'generation',
  'by',
  'unknown-authority',
  'bypass',
  'compass',
]

t.test('secret-looking names are told from plain ones', async (t) => {
  for (const name of SECRET_NAMES) t.ok(isSecretName(name), name)
  for (const name of PLAIN_NAMES) t.notOk(isSecretName(name), name)
})

t.test('a secret is removed at every depth, whatever holds it', async (t) => {
  const canary = 'canary-3f9'
  for (const name of SECRET_NAMES) {
    for (const value of [canary, [canary], { inner: canary }, Buffer.from(canary), new Map([['x', canary]])]) {
      const fields = {
        [name]: value,
        list: [{ [name]: value }],
        deep: { er: { [name]: value } },
        map: new Map([[name, value]]),
      }
      t.notMatch(JSON.stringify(redactFields(fields)), /canary/, name)
    }
  }
  t.strictSame(redactFields({ a: { password: canary, host: 'h' } }), { a: { password: '[redacted]', host: 'h' } })
})

t.test('a numeric secret is removed, a statement about one is kept', async (t) => {
  t.strictSame(redactFields({ pin: 1234, tokenConfigured: true, password: null, auth: '', token: undefined }), {
    pin: '[redacted]',
    tokenConfigured: true,
    password: null,
    auth: '',
    token: undefined,
  })
})

t.test('a Secret is never printed, under whatever name', async (t) => {
  t.strictSame(redactFields({ value: new Secret('canary'), list: [new Secret('canary')] }), {
    value: '[redacted]',
    list: ['[redacted]'],
  })
})

t.test('secrets inside text are removed, the text around them stays', async (t) => {
  t.strictSame(redactFields({ reason: 'proxyconnect https://user:canary@proxy.example.net:3128: refused' }), {
    reason: 'proxyconnect https://[redacted]@proxy.example.net:3128: refused',
  })
})

t.test('errors keep name, code, message, detail and cause; secrets in them are removed', async (t) => {
  const cause = Object.assign(new Error('GET https://u:canary@h/v2/'), { code: 'ECONNREFUSED' })
  const error = new AgentError('CRI_UNREACHABLE', 'no answer', { socket: '/run/c.sock', token: 'canary' }, { cause })
  t.match(redactFields({ error }), {
    error: {
      name: 'AgentError',
      code: 'CRI_UNREACHABLE',
      message: 'no answer',
      detail: { socket: '/run/c.sock', token: '[redacted]' },
      cause: { name: 'Error', code: 'ECONNREFUSED', message: 'GET https://[redacted]@h/v2/', stack: /redact\.test/ },
    },
  })
  t.notMatch(JSON.stringify(redactFields({ error })), /canary/)
})

t.test('bytes, dates, big integers, sets, cycles and depth become plain values', async (t) => {
  const cycle: { [name: string]: unknown } = { host: 'h' }
  cycle['self'] = cycle
  let deep: object = { end: true }
  for (let level = 0; level < 50; level++) deep = { deep }
  const shared = { a: 1 }
  const result = redactFields({
    bytes: Buffer.from('canary'),
    date: new Date(0),
    never: new Date(Number.NaN),
    big: 10n,
    set: new Set([1]),
    run: () => {},
    cycle,
    deep,
    twice: [shared, shared],
  })
  t.match(result, {
    bytes: '[6 bytes]',
    date: '1970-01-01T00:00:00.000Z',
    never: null,
    big: '10',
    set: [1],
    run: '[function]',
    cycle: { host: 'h', self: '[circular]' },
    twice: [{ a: 1 }, { a: 1 }],
  })
  t.match(JSON.stringify(result), /"\[deeper\]"/)
})

t.test('long text and long lists are cut, and say so', async (t) => {
  const result = redactFields({ text: 'x'.repeat(10_000), list: Array.from({ length: 150 }, (_, index) => index) })
  t.match(result['text'], /x… \[1808 characters more\]$/)
  t.match(result['list'], { 100: '[50 more]' })
})

t.test('a property that throws does not stop a line from being logged', async (t) => {
  const odd = Object.defineProperty({}, 'x', {
    enumerable: true,
    get() {
      throw new Error('no')
    },
  })
  t.strictSame(redactFields({ odd }), { odd: { x: '[unreadable]' } })
  t.strictSame(redactFields({ odd: new Map([[[{ toString: 0 }], 1]]) }), { odd: { '[unreadable]': 1 } })
})

t.test('whatever is logged, the result can be serialised and holds no secret', async (t) => {
  const names = fc.constantFrom(...SECRET_NAMES)
  const anything = fc.anything({ withBigInt: true, withDate: true, withMap: true, withSet: true, withTypedArray: true })
  fc.assert(
    fc.property(names, anything, (name, other) => {
      const text = JSON.stringify(redactFields({ other, nested: [{ other, [name]: 'canary-3f9' }] }))
      return !text.includes('canary-3f9')
    }),
  )
  t.pass('held for every sample')
})
