// What is said about a chain beyond what the matrix of real servers shows: the words, and that hostile chains stay
// harmless.
import fc from 'fast-check'
import t from 'tap'
import { type ChainCertificate, readChainCertificate } from '../../../agent/pki/certificate/chain-certificate.ts'
import { explainChain } from '../../../agent/pki/chain/explain.ts'
import { namesInspectionProduct, sameIssuerElsewhere } from '../../../agent/pki/chain/interception.ts'
import type { ChainQuestion } from '../../../agent/pki/chain/question.ts'
import { rootsInPem, SYSTEM } from '../../../agent/pki/chain/roots.ts'
import { verifyChain } from '../../../agent/pki/chain/verify.ts'
import {
  alternativeNames,
  type Blueprint,
  basicConstraints,
  build,
  ecPair,
  keyUsage,
  type Pair,
  toPem,
} from '../../fixtures/pki/certificate-builder.ts'

const NOW = Date.parse('2030-06-15T12:00:00Z')
const DAY = 86_400_000
const [rootKey, leafKey] = [ecPair(), ecPair()]

function make(subject: string, issuer: string, key: Pair, signer: Pair, more: Partial<Blueprint> = {}): Buffer {
  const isLeaf = subject === 'reg.example.net'
  const extensions = isLeaf ? [alternativeNames([{ dns: subject }])] : [basicConstraints(true), keyUsage(5)]
  const dates = { notBefore: new Date(NOW - 100 * DAY), notAfter: new Date(NOW + 100 * DAY) }
  return build({ subject, issuer, key, signer, ...dates, extensions, ...more })
}

function read(bytes: Buffer): ChainCertificate {
  const one = readChainCertificate(bytes)
  if (!one.ok) throw new Error(one.reason)
  return one.certificate
}

const root = make('Corp Root', 'Corp Root', rootKey, rootKey)
const leaf = make('reg.example.net', 'Corp Root', leafKey, rootKey)

function ask(question: Partial<ChainQuestion>) {
  const all = {
    registry: 'reg.example.net',
    host: 'reg.example.net',
    chain: [leaf],
    roots: [],
    isDeclared: true,
    now: NOW,
  }
  return explainChain({ ...all, ...question })
}

const corp = [{ certificate: read(root), origin: 'corp' }]
const system = [{ certificate: read(root), origin: SYSTEM }]

t.test('says who verifies it, and what to know nevertheless', async (t) => {
  t.match(ask({ roots: corp }), {
    verifiedBy: 'corp',
    finding: { code: 'trusted', message: /by the anchor corp: "Corp Root" \(sha256:/ },
  })
  t.match(ask({ roots: [...system, ...corp] }), { verifiedBy: 'corp' }, 'a declared anchor is named before the store')
  const other = [{ certificate: read(make('Other', 'Other', leafKey, leafKey)), origin: 'other' }]
  const both = ask({ roots: [...system, ...other] })
  t.equal(both.verifiedBy, SYSTEM)
  t.ok(both.finding.evidence.notes?.includes('the declared anchors do not verify it; the node trusts it anyway'))
  const undeclared = ask({ roots: corp, isDeclared: false })
  t.ok(
    undeclared.finding.evidence.notes?.includes(
      'reg.example.net is not declared: add it to registries with anchors: [corp]',
    ),
  )
  const short = make('reg.example.net', 'Corp Root', leafKey, rootKey, { notAfter: new Date(NOW + 3 * DAY) })
  t.match(ask({ chain: [short], roots: corp }).finding.evidence.notes?.at(-1), /expires soon, on 2030-06-18$/)
})

t.test('tells everything that is wrong at once', async (t) => {
  const worn = make('reg.example.net', 'Corp Root', leafKey, rootKey, { notAfter: new Date(NOW - DAY) })
  const { finding } = ask({ chain: [worn], host: 'other.example.net', roots: [] })
  t.equal(finding.code, 'expired')
  t.same(finding.evidence.notes?.slice(1), [
    'besides, its certificate is not valid for this name',
    'besides, no trusted authority verifies it',
  ])
})

t.test('names the closest of several anchors, and that there is none', async (t) => {
  const made = (name: string) => ({ certificate: read(make(name, name, leafKey, leafKey)), origin: name })
  const near = ask({
    roots: [made('Lab CA'), made('Corp Root G1')],
    chain: [make('reg.example.net', 'Corp Root G2', leafKey, rootKey)],
  })
  t.match(
    near.finding.message,
    /issued by "Corp Root G2".*; you declared "Corp Root G1" \(sha256:[0-9a-f]{64}\), valid until 2030-09-23$/,
  )
  const far = ask({ roots: ['A1', 'B2', 'C3', 'D4'].map(made) })
  t.match(far.finding.message, /; you declared "A1", "B2", "C3" and 1 more$/)
  t.match(ask({}).finding.message, /; no anchor is declared for reg\.example\.net$/)
  t.match(ask({ roots: corp, chain: [] }).finding, {
    code: 'unknown-authority',
    message: 'reg.example.net shows no certificate at all',
  })
})

t.test('claims a missing intermediate only with the intermediate in hand', async (t) => {
  const middleKey = ecPair()
  const middle = read(make('Middle', 'Corp Root', middleKey, rootKey))
  const chain = [make('reg.example.net', 'Middle', leafKey, middleKey)]
  t.equal(ask({ chain, roots: corp }).finding.code, 'unknown-authority')
  const found = ask({ chain, roots: corp, fetched: [middle] })
  t.match(found.finding, {
    code: 'missing-intermediate',
    message: /does not send its intermediate certificate "Middle"/,
  })
  const stranger = read(make('Middle', 'Corp Root', leafKey, rootKey))
  t.equal(
    ask({ chain, roots: corp, fetched: [stranger] }).finding.code,
    'unknown-authority',
    'a namesake is no evidence',
  )
  t.equal(
    ask({ chain, roots: [], fetched: [middle] }).finding.code,
    'unknown-authority',
    'it has to lead to a trusted root',
  )
  t.equal(found.verifiedBy, null, 'what was fetched is never trusted')
})

t.test('a served certificate that Go cannot read ends the handshake, wherever it stands', async (t) => {
  const broken = Buffer.concat([leaf, Buffer.from([0])])
  t.match(ask({ chain: [leaf, broken], roots: corp }).finding, {
    code: 'unknown-authority',
    message: 'containerd cannot read certificate 2 of 2 that reg.example.net shows: it is not an X.509 certificate',
  })
})

t.test('a chain made to cost time is given up', async (t) => {
  const keys = Array.from({ length: 8 }, ecPair)
  const [first] = keys
  if (first === undefined) throw new Error('no key')
  const web = keys.flatMap((key) => keys.map((signer) => read(make('Web', 'Web', key, signer))))
  const victim = read(make('reg.example.net', 'Web', leafKey, first))
  const started = process.cpuUsage()
  const verdict = verifyChain({ leaf: victim, intermediates: web, roots: [], host: 'reg.example.net', now: NOW })
  t.match(verdict, { ok: false, failure: { kind: 'too-much-work' } })
  t.ok(process.cpuUsage(started).user < 2_000_000, 'less than two seconds of the processor')
})

t.test('damaged certificates are judged or refused, never an exception', async () => {
  const edits = fc.array(fc.tuple(fc.nat(1_000), fc.nat(255)), { minLength: 1, maxLength: 4 })
  fc.assert(
    fc.property(fc.constantFrom(leaf, root), edits, (sample, changes) => {
      const bytes = Buffer.from(sample)
      for (const [at, byte] of changes) bytes[at % bytes.length] = byte
      const { finding } = ask({ chain: [bytes, root], roots: corp })
      return finding.message.length > 0 && finding.remedy.length > 0
    }),
    { numRuns: 1_500 },
  )
})

t.test('reads the roots of a store as Go does', async (t) => {
  const text = `${toPem(root)}junk\n-----BEGIN X-----\nAA==\n-----END X-----\n${toPem(leaf)}${toPem(root)}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`
  t.same(
    rootsInPem(text).map(({ subject }) => subject),
    ['CN=Corp Root', 'CN=reg.example.net'],
  )
})

t.test('the same unknown authority for unrelated hosts is interception, for one company it is not', async (t) => {
  const mine = { host: 'registry.vendor.example', issuer: 'k1' }
  t.equal(sameIssuerElsewhere(mine, [{ host: 'harbor.corp.test', issuer: 'k1' }]), 'harbor.corp.test')
  t.equal(sameIssuerElsewhere(mine, [{ host: 'mirror.vendor.example', issuer: 'k1' }]), undefined)
  t.equal(sameIssuerElsewhere(mine, [{ host: 'harbor.corp.test', issuer: 'k2' }]), undefined)
  t.ok(namesInspectionProduct('CN=Zscaler Intermediate Root CA, O=Zscaler Inc.'))
  t.notOk(namesInspectionProduct('CN=Corp Root G2, O=Corp'))
})
