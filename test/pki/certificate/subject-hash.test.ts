import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { subjectHash } from '../../../agent/pki/certificate/subject-hash.ts'
import { createKey, createRoot, derOf, openssl, pemOf } from '../../fixtures/pki/openssl.ts'
import { TURN } from '../../fixtures/turn.ts'

const SUBJECTS = [
  '/CN=Corp Root',
  '/CN=corp root',
  '/CN=CORP ROOT',
  '/CN= leading and trailing ',
  '/CN=many    inner     spaces',
  '/CN=tab\tinside',
  '/CN=Zertifikatsprüfung Köln ÄÖÜß',
  '/CN=認証局',
  '/CN=Autorité de confiance é',
  '/CN=Root 🔐',
  '/CN=ΑΒΓ Greek Capital',
  '/CN=İstanbul',
  '/C=DE/O=Corp/CN=Root',
  '/C=de/O=Corp/CN=Root',
  '/C=DE/ST=Berlin/L=Berlin/O=Corp/OU=One/OU=Two/CN=Root',
  '/C=DE/O=Corp+CN=Root',
  '/C=DE/O=Corp+OU=b+CN=a',
  '/CN=b+OU=a+O=c',
  '/O=a          b+CN=abcdef',
  '/DC=net/DC=example/CN=Root',
  '/DC=NET/DC=EXAMPLE',
  '/emailAddress=CA@Example.NET/CN=Root',
  '/CN=Root/serialNumber=0042',
  '/O=Quote "inside", comma; semicolon',
  "/O=Apostrophe's (parentheses) & ampersand *",
  '/O=back\\\\slash',
  '/O=a=b',
  '/CN=1234567890',
  '/CN=-',
  '/CN=.',
  '/O=Corp/CN=A long name that goes on until the limit of sixty-four letters',
  '/UID=admin/CN=Root',
  '/title=CA/SN=Sur/GN=Given/CN=Root',
  '/businessCategory=Private Organization/jurisdictionC=DE/O=Corp',
  '/street=Some Street 1/postalCode=10115/O=Corp',
  '/CN=mixed ÄpFeL CaSe',
  '/CN=no-break\u00a0space',
  '/CN=\u3000ideographic space\u3000',
  '/name=n/description=d/dnQualifier=q',
  '/organizationIdentifier=NTRDE-HRB 1/O=Corp',
  '/O=Ünï+CN=Cödé',
  '/generationQualifier=III/initials=A.B./pseudonym=P',
  '/CN=trailing dot./O=x',
]

/** Makes the same words into T61String, BMPString, PrintableString or UTF8String. */
const MASK = `[req]
string_mask = MASK
prompt = no
distinguished_name = dn
[dn]
C = DE
O = Köln Prüfung  GmbH
CN = Root CA
`

t.test('equals openssl x509 -subject_hash', async (t) => {
  const folder = t.testdir()
  const key = createKey(folder)
  const made = SUBJECTS.map((subject) => ({ name: subject, pem: createRoot(folder, key, subject) }))
  for (const mask of ['pkix', 'nombstr', 'MASK:0x800', 'MASK:0x4', 'default']) {
    writeFileSync(join(folder, 'mask.cnf'), MASK.replace('MASK', mask))
    const pem = openssl(folder, 'req', '-x509', '-new', '-key', key, '-days', '30', '-config', 'mask.cnf', '-utf8')
    made.push({ name: `string mask ${mask}`, pem })
  }
  t.ok(made.length >= 40)
  const hashes = hashesByOpenssl(made.map(({ pem }) => pem))
  for (const [at, { name, pem }] of made.entries()) t.equal(subjectHash(pem), hashes[at], name)
})

/** One start of openssl for all of them: the links that it makes in a folder of certificates are named by the hash. */
function hashesByOpenssl(pems: readonly string[]): readonly (string | undefined)[] {
  const folder = mkdtempSync(join(tmpdir(), 'rt-hashes-'))
  try {
    for (const [at, pem] of pems.entries()) writeFileSync(join(folder, `${at}.pem`), pem)
    openssl(folder, 'rehash', folder)
    const links = readdirSync(folder).filter((name) => !name.endsWith('.pem'))
    const hashes = new Map(links.map((name) => [readlinkSync(join(folder, name)), name.slice(0, 8)]))
    return pems.map((_, at) => hashes.get(`${at}.pem`))
  } finally {
    rmSync(folder, { recursive: true })
  }
}

t.test('equals the names of the links that openssl rehash made for the roots of this machine', async (t) => {
  const links = readdirSync('/etc/ssl/certs').filter((name) => /^[0-9a-f]{8}\.[0-9]$/.test(name))
  t.ok(links.length > 100, `${links.length} roots`)
  for (const link of links) t.equal(subjectHash(readFileSync(`/etc/ssl/certs/${link}`, 'utf8')), link.slice(0, 8), link)
})

t.test('knows the hash of an empty subject', async (t) => {
  const folder = t.testdir()
  const pem = createRoot(folder, createKey(folder, 'ed25519'), '/')
  writeFileSync(join(folder, 'c.pem'), pem)
  t.equal(subjectHash(pem), openssl(folder, 'x509', '-in', 'c.pem', '-noout', '-subject_hash').trim())
})

t.test('gives nothing for what is not a certificate', async (t) => {
  const folder = t.testdir()
  const der = derOf(createRoot(folder, createKey(folder), '/CN=x'))
  t.equal(subjectHash(''), undefined)
  t.equal(subjectHash('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'), undefined)
  t.equal(subjectHash(pemOf(der.subarray(0, -1))), undefined, 'cut off')
})

/** Deterministic pseudo-random numbers (mulberry32): a failure can be repeated. */
function dice(seed: number): (sides: number) => number {
  let state = seed
  return (sides) => {
    state = (state + 0x6d2b79f5) | 0
    let z = Math.imul(state ^ (state >>> 15), 1 | state)
    z = (z + Math.imul(z ^ (z >>> 7), 61 | z)) ^ z
    return ((z ^ (z >>> 14)) >>> 0) % sides
  }
}

const ATTRIBUTES = [
  'CN',
  'O',
  'OU',
  'L',
  'ST',
  'street',
  'DC',
  'emailAddress',
  'serialNumber',
  'title',
  'GN',
  'SN',
] as const
const WORDS = [
  'Corp',
  'ROOT',
  'g2',
  'Köln',
  'ÄÖÜ',
  'é à',
  '認証',
  '  two',
  'spaces  inside',
  'x.509',
  "O'Neil",
  '(c)',
  '№ 1',
  'ﬁ',
  'ŁÓDŹ',
  '42',
]
const MASKS = ['default', 'utf8only', 'nombstr', 'pkix'] as const

const IS_FULL = process.env['REGISTRY_TRUST_FULL'] === '1'
/** Others in the next turn (REGISTRY_TRUST_TURN). */
const RANDOM = IS_FULL ? 170 : 60

t.test('equals openssl on random subjects, several values in a set and every string type included', async (t) => {
  const folder = t.testdir({})
  const key = createKey(folder)
  const roll = dice(20261121 + TURN)
  const kinds = new Set<string>()
  const made: { readonly subject: string; readonly pem: string }[] = []
  for (let n = 0; n < 1000 && made.length < RANDOM; n++) {
    const mask = MASKS[roll(MASKS.length)] ?? 'default'
    const parts = Array.from({ length: 1 + roll(5) }, (_, index) => {
      const attribute = ATTRIBUTES[roll(ATTRIBUTES.length)] ?? 'CN'
      const isAscii = ['DC', 'emailAddress', 'serialNumber'].includes(attribute)
      const word = () => (isAscii ? `a${roll(999)}` : (WORDS[roll(WORDS.length)] ?? 'x'))
      const value = Array.from({ length: 1 + roll(3) }, word).join(' '.repeat(roll(3)))
      return `${index > 0 && roll(4) === 0 ? '+' : '/'}${attribute}=${value}`
    })
    const subject = parts.join('')
    writeFileSync(
      join(folder, 'random.cnf'),
      `[req]\nstring_mask = ${mask}\nprompt = no\ndistinguished_name = dn\n[dn]\nCN = x\n`,
    )
    const pem = createdBy(() => createRoot(folder, key, subject, '-days', '30', '-config', 'random.cnf'))
    // Japanese in a T61String, a value over its limit: openssl itself refuses some.
    if (pem === undefined) continue
    made.push({ subject, pem })
    kinds.add(mask)
  }
  t.equal(made.length, RANDOM)
  const hashes = hashesByOpenssl(made.map(({ pem }) => pem))
  t.same(
    made.filter(({ pem }, at) => subjectHash(pem) !== hashes[at]).map(({ subject }) => subject),
    [],
  )
  t.equal(kinds.size, MASKS.length)
})

function createdBy(make: () => string): string | undefined {
  try {
    return make()
  } catch {
    return undefined
  }
}
