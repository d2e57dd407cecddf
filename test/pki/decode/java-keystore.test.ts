// Stores that keytool wrote are read whole; every store that is cut off or damaged is refused by name; nothing of a store
// with a key in it is used.
import { createHash, X509Certificate } from 'node:crypto'
import t from 'tap'
import { Secret } from '../../../agent/model/secret.ts'
import { decodeCertificates } from '../../../agent/pki/decode/decode.ts'
import { KEYTOOL, PASSWORD, ROOTS } from '../../fixtures/pki/java-keystores.ts'

const fingerprints = ROOTS.map((pem) => {
  const { fingerprint256 } = new X509Certificate(pem)
  return `sha256:${fingerprint256.replaceAll(':', '').toLowerCase()}`
})
const open = (bytes: Buffer, password?: string) => {
  const { certificates, problems, encoding } = decodeCertificates(bytes, {
    password: password === undefined ? undefined : new Secret(password),
  })
  return { found: certificates.map(({ fingerprint }) => fingerprint).toSorted(), problems, encoding }
}

/** The documented form, written here: entries that keytool does not write. */
function written(entries: readonly Buffer[], { version = 2, magic = 0xfeedfeed, password = PASSWORD } = {}): Buffer {
  const head = Buffer.alloc(12)
  for (const [index, value] of [magic, version, entries.length].entries()) head.writeUInt32BE(value, 4 * index)
  const content = Buffer.concat([head, ...entries])
  const digest = createHash('sha1').update(Buffer.from(password, 'utf16le').swap16())
  return Buffer.concat([content, digest.update('Mighty Aphrodite').update(content).digest()])
}

const text = (value: string) =>
  Buffer.concat([Buffer.from([value.length >> 8, value.length & 255]), Buffer.from(value)])
const number = (value: number) => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
const trusted = (der: Buffer, { type = 'X.509' as string | null, tag = 2 } = {}) =>
  Buffer.concat([
    number(tag),
    text('alias'),
    Buffer.alloc(8),
    type === null ? Buffer.alloc(0) : text(type),
    number(der.length),
    der,
  ])
const der = new X509Certificate(ROOTS[0]).raw

t.test('the trust stores of keytool give their certificates, with the password and without', async (t) => {
  for (const type of ['jks', 'jceks'] as const)
    for (const password of [PASSWORD, undefined])
      t.strictSame(open(KEYTOOL[type], password), { found: fingerprints.toSorted(), problems: [], encoding: [type] })
  const wrapped = Buffer.from(KEYTOOL.jks.toString('base64'))
  t.match(open(wrapped, PASSWORD), { found: fingerprints.toSorted(), encoding: ['base64', 'jks'] })
})

t.test('a wrong password, and any changed byte where the password is known, is told and nothing is used', async (t) => {
  for (const type of ['jks', 'jceks'] as const) {
    t.match(open(KEYTOOL[type], 'wrong'), { found: [], problems: [{ code: 'ANCHOR_PASSWORD' }] })
    for (let at = 4; at < KEYTOOL[type].length; at += 7) {
      const changed = Buffer.from(KEYTOOL[type])
      changed[at] = (changed[at] ?? 0) ^ 0x10
      const { found, problems } = open(changed, PASSWORD)
      t.ok(found.length === 0 && problems.length > 0, `byte ${at}`)
    }
  }
})

t.test('nothing of a store with a private or secret key is used', async (t) => {
  for (const name of ['privateKeyJks', 'privateKeyJceks', 'secretKey'] as const)
    t.match(open(KEYTOOL[name], PASSWORD), { found: [], problems: [{ code: 'ANCHOR_PRIVATE_KEY' }] }, name)
  for (const name of ['secretKeyPkcs12', 'passwordPkcs12'] as const)
    for (const password of [PASSWORD, undefined, 'wrong'])
      t.match(open(KEYTOOL[name], password), { found: [], problems: [{ code: 'ANCHOR_PRIVATE_KEY' }] }, name)
  const both = written([trusted(der), Buffer.concat([number(1), text('key'), Buffer.alloc(8)])])
  t.match(open(both, PASSWORD), { found: [], problems: [{ code: 'ANCHOR_PRIVATE_KEY' }] })
})

t.test('a store that is cut off anywhere is refused', async (t) => {
  for (let length = 4; length < KEYTOOL.jks.length; length += 1)
    t.match(open(KEYTOOL.jks.subarray(0, length), PASSWORD).found, [], `${length} bytes`)
})

t.test('what the form allows and keytool does not write is read or refused by name', async (t) => {
  const table: readonly (readonly [string, Buffer, object])[] = [
    ['version 1, without types', written([trusted(der, { type: null })], { version: 1 }), { found: [fingerprints[0]] }],
    ['no entry', written([]), { problems: [{ code: 'ANCHOR_EMPTY' }] }],
    ['another type', written([trusted(der, { type: 'PGP' })]), { problems: [{ code: 'ANCHOR_NOT_SUPPORTED_YET' }] }],
    ['an unknown version', written([], { version: 3 }), { problems: [{ code: 'ANCHOR_NOT_SUPPORTED_YET' }] }],
    [
      'an unknown kind of entry',
      written([trusted(der, { tag: 9 })]),
      { problems: [{ code: 'ANCHOR_NOT_A_CERTIFICATE' }] },
    ],
    [
      'a certificate that is none',
      written([trusted(Buffer.from('x'))]),
      { problems: [{ code: 'ANCHOR_NOT_A_CERTIFICATE' }] },
    ],
    [
      '501 entries',
      written(Array.from({ length: 501 }, () => trusted(Buffer.from('x')))),
      { problems: [{ code: 'ANCHOR_TOO_LARGE' }] },
    ],
    [
      'a count that lies',
      Buffer.concat([Buffer.from('feedfeed00000002ffffffff', 'hex'), Buffer.alloc(20)]),
      { problems: [{ code: 'ANCHOR_NOT_A_CERTIFICATE' }] },
    ],
  ]
  for (const [name, bytes, expected] of table) t.match(open(bytes, PASSWORD), expected, name)
})
