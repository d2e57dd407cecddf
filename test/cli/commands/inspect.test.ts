// `inspect` from bytes to JSON and text: what the file holds, whether it can serve as an anchor, and no secret in any
// of it.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { inspectInput } from '../../../agent/cli/commands/inspect.ts'
import { formatInspection } from '../../../agent/cli/output/probe.ts'
import { plain } from '../../../agent/cli/output/terminal.ts'
import { Secret } from '../../../agent/model/secret.ts'
import { createKey, createRoot, derOf, issue, openssl } from '../../fixtures/pki/openssl.ts'

const folder = t.testdir()
const key = createKey(folder)
const root = createRoot(folder, key, '/O=Corp/CN=Corp Root', '-days', '900')
const middle = issue(folder, key, root, '/CN=Corp Issuing', [
  'basicConstraints=critical,CA:TRUE',
  'nameConstraints=permitted;DNS:corp.example.net,permitted;IP:10.0.0.0/255.0.0.0,excluded;DNS:x.corp.example.net',
])
const leaf = issue(folder, key, root, '/CN=reg', ['subjectAltName=DNS:reg.example.net'])
/** A little later: certificates made by the test are valid from their second on. */
const NOW = Date.now() + 60_000

function inspect(
  bytes: string | Buffer,
  options: { readonly password?: Secret; readonly system?: ReadonlySet<string> } = {},
) {
  const { password, system = new Set<string>() } = options
  return inspectInput('ca.pem', { kind: 'file', bytes: Buffer.from(bytes as string) }, { password, system, now: NOW })
}

const codes = (bytes: string | Buffer) => inspect(bytes).inspection.findings.map(({ code }) => code)

t.test('the JSON has the fields that scripts rely on', async (t) => {
  const twice = Buffer.from(Buffer.from(root).toString('base64')).toString('base64')
  const { inspection, isUsable } = inspect(twice)
  t.ok(isUsable)
  t.match(inspection, {
    file: 'ca.pem',
    encoding: ['base64', 'base64', 'pem'],
    certificates: [{ subject: 'CN=Corp Root, O=Corp', issuer: 'CN=Corp Root, O=Corp', isCa: true }],
    findings: [],
  })
  const [certificate] = inspection.certificates
  t.same(Object.keys(certificate ?? {}), ['subject', 'issuer', 'fingerprint', 'notBefore', 'notAfter', 'isCa'])
  t.match(certificate?.fingerprint, /^sha256:[0-9a-f]{64}$/)
})

t.test('says what cannot be used, and what to know about what can', async (t) => {
  t.same(codes(leaf), ['ANCHOR_NOT_A_CA'])
  t.notOk(inspect(leaf).isUsable)
  t.ok(inspect(leaf + root).isUsable)
  t.same(codes(root + root), ['ANCHOR_DUPLICATE'])
  t.same(codes(middle), ['ANCHOR_EXPIRES_SOON', 'ANCHOR_INTERMEDIATE', 'ANCHOR_NAME_CONSTRAINED'])
  t.match(
    inspect(middle).inspection.findings[2]?.message,
    /may certify only corp\.example\.net, 10\.0\.0\.0\/8, and anything but x\.corp\.example\.net$/,
  )
  const weak = createRoot(folder, createKey(folder, 'rsa'), '/CN=old', '-sha1', '-days', '900')
  t.same(codes(weak), ['ANCHOR_WEAK_SIGNATURE'])
  const [certificate] = inspect(root).inspection.certificates
  const system = new Set([certificate?.fingerprint ?? ''])
  t.match(inspect(root, { system }).inspection.findings, [{ code: 'ANCHOR_ALREADY_TRUSTED' }])
  t.same(codes('nonsense'), ['ANCHOR_NOT_A_CERTIFICATE'])
})

t.test('a file that is not there is a finding like any other', async (t) => {
  const options = { password: undefined, system: new Set<string>(), now: NOW }
  for (const [input, code] of [
    [{ kind: 'absent' }, 'ANCHOR_MISSING'],
    [{ kind: 'folder' }, 'ANCHOR_UNREADABLE'],
    [{ kind: 'too-large', bytes: 5 }, 'ANCHOR_TOO_LARGE'],
    [{ kind: 'unreadable', reason: 'EACCES' }, 'ANCHOR_UNREADABLE'],
  ] as const) {
    t.match(inspectInput('x', input, options), { isUsable: false, inspection: { findings: [{ code }] } })
  }
})

t.test('the text is one line a certificate, and obeys no escape sequence of a file', async (t) => {
  const text = formatInspection(inspect(derOf(root)).inspection, plain)
  t.match(
    text,
    /^ca\.pem {2}der, 1 certificate\n {5}SUBJECT +ISSUED BY +VALID +KIND +FINGERPRINT\n {2}1 {2}CN=Corp Root, O=Corp {2}itself {5}20\d\d-\d\d-\d\d to 20\d\d-\d\d-\d\d {2}CA {4}sha256:/,
  )
  const evil = createRoot(folder, key, '/CN=evil\u001b[31m', '-days', '900')
  t.notOk(formatInspection({ ...inspect(evil).inspection, file: 'a\u001b[2J' }, plain).includes('\u001b'))
})

t.test('no password and no key is ever in the answer', async (t) => {
  writeFileSync(join(folder, 'one.pem'), root)
  openssl(folder, 'pkcs12', '-export', '-nokeys', '-in', 'one.pem', '-passout', 'pass:hunter2', '-out', 'store.p12')
  openssl(folder, 'pkcs12', '-export', '-in', 'one.pem', '-inkey', key, '-passout', 'pass:hunter2', '-out', 'key.p12')
  const read = (name: string) => readFileSync(join(folder, name))
  for (const password of [new Secret('hunter2'), new Secret('hunter3')]) {
    for (const bytes of [read('store.p12'), read('key.p12'), Buffer.concat([Buffer.from(root), read(key)])]) {
      const { inspection } = inspect(bytes, { password })
      const shown = JSON.stringify(inspection) + formatInspection(inspection, plain)
      t.notMatch(shown, /hunter|BEGIN/)
    }
  }
  t.ok(inspect(read('store.p12'), { password: new Secret('hunter2') }).isUsable)
})
