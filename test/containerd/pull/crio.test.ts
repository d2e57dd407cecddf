// What CRI-O 1.36.3 was heard to say of broken registries (test/fixtures/node/crio-texts.json: recorded from the running
// program, host names as in the fixtures), and the code that each text gets.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { classifyPull } from '../../../agent/containerd/pull/classify.ts'
import { breaksTrust, provesTrust } from '../../../agent/model/finding.ts'

type Recorded = {
  readonly name: string
  readonly reference: string
  readonly status: string
  readonly text: string
  readonly code: string
  /** Where the request went that failed, if not to the registry. */
  readonly host?: string
}

const FILE = join(import.meta.dirname, '../../fixtures/node/crio-texts.json')
const recorded = JSON.parse(readFileSync(FILE, 'utf8')) as readonly Recorded[]

function classified({ reference, status, text }: Recorded) {
  return classifyPull({ ok: false, status, text }, { reference, host: reference.split('/')[0] ?? '' })
}

t.test('each recorded text gets its code, and names the host that failed', async (t) => {
  t.ok(recorded.length > 40, 'the recording is there')
  for (const one of recorded) {
    const { code, evidence, message } = classified(one)
    t.equal(code, one.code, `${one.name}: ${message}`)
    t.equal(evidence.host, one.host, one.name)
    t.notMatch(message, /\$\d|HOST|undefined/, one.name)
    t.notMatch(JSON.stringify([message, evidence]), /secret/, 'no query string of a redirect is shown')
  }
})

t.test(
  'nothing that CRI-O says of a bad certificate counts as trusted, and nothing else takes trust away',
  async (t) => {
    for (const one of recorded) {
      const { code } = classified(one)
      const [primary = ''] = one.text.replace(/\(Mirrors also failed: .*\]\): /s, '').split('; artifact err: ')
      const isOfCertificate = primary.includes('x509: ')
      if (isOfCertificate) t.notOk(provesTrust(code), one.name)
      else t.notOk(breaksTrust(code) && code !== 'ca-file-unreadable', one.name)
    }
  },
)

/** Of earlier versions of the library, and of registries that name several errors; from its sources, not heard. */
t.test('other words for the same are understood', async (t) => {
  const source = 'initializing source docker://reg.test/x:1: '
  const texts = {
    'Error reading manifest 1 in reg.test/x: manifest unknown: manifest unknown': 'not-found',
    'Error reading manifest 1 in reg.test/x: errors:\ndenied: requested access to the resource is denied\nunauthorized: authentication required\n':
      'unauthorized',
    'pinging docker registry reg.test: Get "https://reg.test/v2/": x509: certificate signed by unknown authority':
      'unknown-authority',
    'pinging docker registry reg.test: invalid status code from registry 503 (Service Unavailable)': 'server-error',
    'Requesting bearer token: invalid status code from registry 403 (Forbidden)': 'forbidden',
    'pinging container registry reg.test: invalid status code from registry 404 (Not Found)': 'not-a-registry',
    'reading manifest 1 in reg.test/x: toomanyrequests: You have reached your pull rate limit': 'rate-limited',
    'reading manifest 1 in reg.test/x: received unexpected HTTP status: 504 Gateway Time-out': 'server-error',
  }
  for (const [text, code] of Object.entries(texts)) {
    const failure = { ok: false, status: 'UNKNOWN', text: source + text } as const
    t.equal(classifyPull(failure, { reference: 'reg.test/x:1', host: 'reg.test' }).code, code, text)
  }
})

t.test('a mirror that failed before the registry answered decides nothing', async (t) => {
  const unknown = 'tls: failed to verify certificate: x509: certificate signed by unknown authority'
  const text = `unable to pull image: initializing source docker://a.test/x:1: (Mirrors also failed: [m.test/x:1: pinging container registry m.test: Get "https://m.test/v2/": ${unknown}]): a.test/x:1: reading manifest 1 in a.test/x: manifest unknown`
  const found = classifyPull({ ok: false, status: 'UNKNOWN', text }, { reference: 'a.test/x:1', host: 'a.test' })
  t.equal(found.code, 'not-found')
  t.match(found.evidence.text, /m\.test.*unknown authority/, 'the evidence keeps it')
})

t.test('a mirror that stands for the registry, without fallback, fails as the registry does', async (t) => {
  const cause = 'tls: failed to verify certificate: x509: certificate signed by unknown authority'
  const text = `unable to pull image: initializing source docker://a.test/x:1: pinging container registry m.test:5000: Get "https://m.test:5000/v2/": ${cause}`
  const found = classifyPull({ ok: false, status: 'UNKNOWN', text }, { reference: 'a.test/x:1', host: 'a.test' })
  t.match(found, { code: 'unknown-authority', evidence: { host: 'm.test:5000' } })
})
