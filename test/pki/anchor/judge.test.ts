import t from 'tap'
import { type Judged, type JudgeOptions, judgeCertificates } from '../../../agent/pki/anchor/judge.ts'
import { decodeCertificates } from '../../../agent/pki/decode/decode.ts'
import { createKey, createRoot, issue, openssl, readIn } from '../../fixtures/pki/openssl.ts'

const folder = t.testdir()
const key = createKey(folder)
const root = createRoot(folder, key, '/O=Corp/CN=Corp Root')
// What openssl makes from here on begins in a second that may not have begun yet.
const NOW = Date.now() + 60_000
const DAY = 86_400_000

function judge(pem: string, options: Partial<JudgeOptions> = {}): Judged {
  const { certificates, problems } = decodeCertificates(Buffer.from(pem))
  t.same(problems, [])
  return judgeCertificates(certificates, { now: NOW, minRsaBits: 2048, ...options })
}

const told = ({ problems }: Judged) => problems.map(({ code, message }) => `${code} ${message}`)

t.test('accepts a root, an intermediate and a self-signed server certificate', async (t) => {
  const intermediate = issue(folder, key, root, '/CN=Corp Issuing', ['basicConstraints=critical,CA:TRUE'])
  const server = createRoot(folder, key, '/CN=reg', '-addext', 'basicConstraints=critical,CA:FALSE', '-days', '30')
  const judged = judge(root + intermediate + server)
  t.same(told(judged), [])
  t.match(judged.certificates, [
    { subject: 'CN=Corp Root, O=Corp', isCa: true, isSelfSigned: true },
    { subject: 'CN=Corp Issuing', issuer: 'CN=Corp Root, O=Corp', isCa: true, isSelfSigned: false },
    { subject: 'CN=reg', isCa: false, isSelfSigned: true },
  ])
  t.same(Object.keys(judged.certificates[0] ?? {}).sort(), [
    'fingerprint',
    'isCa',
    'isSelfSigned',
    'issuer',
    'notAfter',
    'notBefore',
    'pem',
    'subject',
  ])
})

t.test("explains a server's certificate given in place of its CA, and keeps the CA beside it", async (t) => {
  const names = 'subjectAltName=DNS:harbor.example.net,DNS:h2,IP:10.1.2.3,DNS:h4,DNS:h5,DNS:h6'
  const leaf = issue(folder, key, root, '/CN=harbor.example.net', [names])
  const judged = judge(leaf + root)
  t.same(told(judged), [
    'ANCHOR_NOT_A_CA block 1 (line 1) is the server certificate of harbor.example.net, h2, 10.1.2.3, h4, h5 and 1 more ' +
      '(subject CN=harbor.example.net), issued by CN=Corp Root, O=Corp: provide the certificate of CN=Corp Root, O=Corp',
  ])
  t.equal(judged.certificates.length, 1)
  const nameless = issue(folder, key, root, '/CN=client', ['basicConstraints=CA:FALSE'])
  t.match(told(judge(nameless))[0], 'is not a CA certificate (subject CN=client), issued by CN=Corp Root, O=Corp')
})

t.test('does not take a certificate for self-signed because it claims its own name as issuer', async (t) => {
  const other = createKey(folder, 'ed25519')
  openssl(folder, 'req', '-x509', '-new', '-key', other, '-subj', '/CN=twin', '-days', '30', '-out', 'other.pem')
  openssl(folder, 'req', '-new', '-key', key, '-subj', '/CN=twin', '-out', 'twin.csr')
  const common = ['-req', '-in', 'twin.csr', '-CA', 'other.pem', '-CAkey', other, '-set_serial', '9', '-days', '30']
  openssl(folder, 'x509', ...common, '-out', 'twin.pem')
  const judged = judge(readIn(folder, 'twin.pem').toString('utf8'))
  t.equal(judged.problems[0]?.code, 'ANCHOR_NOT_A_CA')
})

t.test('keeps a certificate outside its dates, but says so', async (t) => {
  const [certificate] = judge(root).certificates
  const late = judge(root, { now: NOW + 31 * DAY })
  t.same(told(late), [`ANCHOR_EXPIRED block 1 (line 1) (CN=Corp Root, O=Corp) expired on ${certificate?.notAfter}`])
  const early = judge(root, { now: NOW - DAY })
  const text = `ANCHOR_NOT_YET_VALID block 1 (line 1) (CN=Corp Root, O=Corp) is valid only from ${certificate?.notBefore} on`
  t.same(told(early), [text])
  t.same([late.certificates, early.certificates], [[certificate], [certificate]])
})

t.test('accepts pinned certificates alone', async (t) => {
  const other = createRoot(folder, key, '/CN=Other')
  const [certificate] = judge(root).certificates
  const [unpinned] = judge(other).certificates
  const judged = judge(root + other, { pins: [certificate?.fingerprint ?? ''] })
  t.same(judged.certificates, [certificate])
  const line = root.split('\n').length
  t.same(told(judged), [
    `ANCHOR_PIN_MISMATCH block 2 (line ${line}) (CN=Other) has the fingerprint ${unpinned?.fingerprint}, which is not in pins`,
  ])
})

t.test('refuses an RSA key below the limit, and only below', async (t) => {
  const weak = createRoot(folder, createKey(folder, 'rsa-1024'), '/CN=weak')
  const judged = judge(weak)
  t.same(judged.certificates, [])
  t.same(told(judged), [
    'ANCHOR_WEAK_KEY block 1 (line 1) (CN=weak) has an RSA key of 1024 bits, less than the 2048 required',
  ])
  t.equal(judge(weak, { minRsaBits: 1024 }).certificates.length, 1)
})
