// PKCS#7, PKCS#12 and OpenSSL's TRUSTED CERTIFICATE, as the openssl program writes them.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { Secret } from '../../../agent/model/secret.ts'
import { type Decoded, decodeCertificates } from '../../../agent/pki/decode/decode.ts'
import { der, oid } from '../../fixtures/pki/certificate-builder.ts'
import { createKey, createRoot, derOf, openssl, pemOf, readIn } from '../../fixtures/pki/openssl.ts'

const folder = t.testdir()
const key = createKey(folder, 'rsa')
const one = createRoot(folder, key, '/O=Corp/CN=Root One')
const two = createRoot(folder, createKey(folder, 'ec'), '/O=Corp/CN=Root Two')
writeFileSync(join(folder, 'one.pem'), one)
writeFileSync(join(folder, 'two.pem'), two)

const decode = (input: string | Buffer, password?: string): Decoded =>
  decodeCertificates(Buffer.from(input as string), {
    password: password === undefined ? undefined : new Secret(password),
  })
const told = ({ problems }: Decoded) => problems.map(({ code, message }) => `${code} ${message}`)
const pems = ({ certificates }: Decoded) => certificates.map(({ pem }) => pem)
const base64 = (bytes: Buffer) => bytes.toString('base64')

function store(name: string, ...options: readonly string[]): Buffer {
  openssl(folder, 'pkcs12', '-export', '-nokeys', '-in', 'one.pem', '-certfile', 'two.pem', ...options, '-out', name)
  return readIn(folder, name)
}

t.test('opens a PKCS#7 container, PEM or DER, also inside base64', async (t) => {
  const make = (form: string) => {
    openssl(
      folder,
      'crl2pkcs7',
      '-nocrl',
      '-certfile',
      'one.pem',
      '-certfile',
      'two.pem',
      '-outform',
      form,
      '-out',
      'p7',
    )
    return readIn(folder, 'p7')
  }
  const [pem, binary] = [make('PEM'), make('DER')]
  const table: readonly (readonly [string | Buffer, readonly string[]])[] = [
    [pem, ['pem', 'pkcs7']],
    [pem.toString('utf8').replaceAll('PKCS7', 'CMS'), ['pem', 'pkcs7']],
    [binary, ['pkcs7']],
    [base64(binary), ['base64', 'pkcs7']],
    [base64(Buffer.from(base64(pem))), ['base64', 'base64', 'pem', 'pkcs7']],
  ]
  for (const [input, encoding] of table) {
    const decoded = decode(input)
    t.same(told(decoded), [])
    t.same(decoded.encoding, encoding)
    t.same(pems(decoded).sort(), [one, two].sort())
  }
  const mixed = decode(`${pem.toString('utf8')}${one}`)
  t.same(pems(mixed).length, 2)
  t.match(
    mixed.repeated,
    [{ place: 'block 2 (line 1)', subject: 'CN=Root One, O=Corp' }].map(({ subject }) => ({ subject })),
  )
})

t.test('opens a PKCS#7 container of indefinite lengths', async (t) => {
  const endless = (tag: number, ...parts: readonly Buffer[]) =>
    Buffer.concat([Buffer.from([tag, 0x80]), ...parts, Buffer.from([0, 0])])
  const data = endless(0x30, oid('1.2.840.113549.1.7.1'))
  const signed = endless(
    0x30,
    der(2, Buffer.from([1])),
    der(0x31),
    data,
    endless(0xa0, derOf(one), derOf(two)),
    der(0x31),
  )
  const container = endless(0x30, oid('1.2.840.113549.1.7.2'), endless(0xa0, signed))
  t.same(pems(decode(container)), [one, two])
  for (let length = 20; length < container.length; length += 97) {
    const decoded = decode(container.subarray(0, length))
    t.same(told(decoded), ['ANCHOR_NOT_A_CERTIFICATE the input is a PKCS#7 container, but cut off or malformed'])
  }
  const empty = endless(
    0x30,
    oid('1.2.840.113549.1.7.2'),
    endless(0xa0, endless(0x30, der(2, Buffer.from([1])), der(0x31), data)),
  )
  t.same(told(decode(empty)), ['ANCHOR_EMPTY the input is a PKCS#7 container without a certificate in it'])
})

t.test('opens PKCS#12 stores, modern and old, with their password', async (t) => {
  const password = 'correct hörse'
  const pass = ['-passout', `pass:${password}`]
  const table: { readonly [name: string]: readonly string[] } = {
    'AES-256, as OpenSSL 3 writes it': pass,
    'AES-128': ['-certpbe', 'AES-128-CBC', ...pass],
    'AES-192 with SHA-512': ['-certpbe', 'AES-192-CBC', '-macalg', 'sha512', ...pass],
    'AES-256 and SHA-384': ['-certpbe', 'AES-256-CBC', '-macalg', 'sha384', ...pass],
    '3DES inside PBES2': ['-certpbe', 'des-ede3-cbc', ...pass],
    'RC2-40, as OpenSSL 1 and Windows wrote it': ['-legacy', ...pass],
    'RC2-128': ['-legacy', '-certpbe', 'PBE-SHA1-RC2-128', ...pass],
    '3DES, the old way': ['-certpbe', 'PBE-SHA1-3DES', '-macalg', 'sha1', ...pass],
    '3DES with two keys': ['-certpbe', 'PBE-SHA1-2DES', '-macalg', 'sha1', ...pass],
    'not encrypted, but with a checksum': ['-certpbe', 'NONE', ...pass],
    'encrypted without a checksum': ['-nomac', '-certpbe', 'AES-256-CBC', ...pass],
    'one iteration': ['-noiter', '-nomaciter', ...pass],
    '100 000 iterations': ['-iter', '100000', ...pass],
  }
  for (const [name, options] of Object.entries(table)) {
    const bytes = store('store.p12', ...options)
    const opened = decode(bytes, password)
    t.same(told(opened), [], name)
    t.same(pems(opened), [one, two], name)
    t.same(opened.encoding, ['pkcs12'])
    t.same(decode(base64(bytes), password).encoding, ['base64', 'pkcs12'])
    const wrong = decode(bytes, 'wrong')
    t.same(told(wrong), ['ANCHOR_PASSWORD the input is a PKCS#12 store: the password given does not open it'], name)
    t.same(wrong.certificates, [], name)
    t.match(
      told(decode(bytes))[0],
      /^ANCHOR_PASSWORD the input is a PKCS#12 store: it is (encrypted|protected by a password)$/,
      name,
    )
  }
})

t.test('opens a store without a password, and one without encryption and checksum', async (t) => {
  for (const options of [
    ['-passout', 'pass:'],
    ['-passout', 'pass:', '-legacy'],
    ['-passout', 'pass:x', '-nomac', '-certpbe', 'NONE'],
  ]) {
    t.same(pems(decode(store('open.p12', ...options))), [one, two], options.join(' '))
  }
})

t.test('uses nothing of a store that holds a private key, and asks for no password to say so', async (t) => {
  for (const options of [[], ['-legacy'], ['-keypbe', 'NONE'], ['-certpbe', 'NONE']]) {
    openssl(
      folder,
      'pkcs12',
      '-export',
      '-in',
      'one.pem',
      '-inkey',
      key,
      '-passout',
      'pass:secret',
      ...options,
      '-out',
      'key.p12',
    )
    for (const password of [undefined, 'secret', 'wrong']) {
      const decoded = decode(readIn(folder, 'key.p12'), password)
      t.same(told(decoded), ['ANCHOR_PRIVATE_KEY the input holds a private key: nothing of it is used'])
      t.same(decoded.certificates, [])
    }
  }
})

t.test('does not calculate as long as a file wishes', async (t) => {
  const bytes = store('bomb.p12', '-passout', 'pass:x', '-iter', '2049')
  const asked = Buffer.from('02020801', 'hex')
  t.ok(bytes.includes(asked), 'the number of iterations is found')
  for (const count of ['02017f', '0204000fffff', '02047fffffff', '0206700000000000', '020200ff']) {
    const bomb = Buffer.from(bytes)
    const wanted = Buffer.from(count, 'hex')
    if (wanted.length === asked.length) {
      for (let at = bomb.indexOf(asked); at !== -1; at = bomb.indexOf(asked, at + 1)) wanted.copy(bomb, at)
    }
    const started = process.hrtime.bigint()
    const decoded = decode(bomb, 'x')
    t.ok(Number(process.hrtime.bigint() - started) < 3e9, `${count}: in time`)
    t.ok(decoded.certificates.length > 0 || decoded.problems.length > 0)
  }
  const huge = pfx(der(2, Buffer.from('7fffffff', 'hex')))
  t.same(told(decode(huge, 'x')), [
    'ANCHOR_TOO_COSTLY the input is a PKCS#12 store: it asks for more password iterations than any real store does',
  ])
  const absurd = pfx(der(2, Buffer.from('7fffffffffffffff', 'hex')))
  t.match(told(decode(absurd, 'x')), [/^ANCHOR_TOO_COSTLY/])
})

/** An empty store whose checksum asks for this many iterations. */
function pfx(iterations: Buffer): Buffer {
  const safe = der(0x30, oid('1.2.840.113549.1.7.1'), der(0xa0, der(4, der(0x30))))
  const mac = der(
    0x30,
    der(0x30, der(0x30, oid('1.3.14.3.2.26'), der(5)), der(4, Buffer.alloc(20))),
    der(4, Buffer.alloc(8)),
    iterations,
  )
  return der(0x30, der(2, Buffer.from([3])), safe, mac)
}

t.test("reads OpenSSL's TRUSTED CERTIFICATE unless its settings forbid servers", async (t) => {
  const trusted = (...options: readonly string[]) => openssl(folder, 'x509', '-in', 'one.pem', '-trustout', ...options)
  const allowed = [
    [],
    ['-setalias', 'Corp'],
    ['-addtrust', 'serverAuth'],
    ['-addtrust', 'anyExtendedKeyUsage'],
    ['-addreject', 'emailProtection'],
  ]
  for (const options of allowed) {
    const text = trusted(...options)
    t.match(text, /BEGIN TRUSTED CERTIFICATE/)
    t.same(pems(decode(text)), [one], options.join(' '))
  }
  for (const options of [
    ['-addreject', 'serverAuth'],
    ['-addtrust', 'emailProtection'],
    ['-addreject', 'anyExtendedKeyUsage', '-addtrust', 'serverAuth'],
  ]) {
    const decoded = decode(trusted(...options) + two)
    t.same(told(decoded), [
      'ANCHOR_UNUSABLE block 1 (line 1) carries OpenSSL trust settings that do not allow it to vouch for servers',
    ])
    t.same(pems(decoded), [two])
  }
  const odd = pemOf(Buffer.concat([derOf(one), der(0x30), der(0x30)])).replaceAll('CERTIFICATE', 'TRUSTED CERTIFICATE')
  t.match(told(decode(odd)), ['ANCHOR_UNUSABLE block 1 (line 1) is malformed'])
})

t.test('never throws and always says something, whatever the bytes of a container are', async (t) => {
  const samples = [
    store('a.p12', '-passout', 'pass:x'),
    store('b.p12', '-passout', 'pass:x', '-legacy'),
    store('c.p12', '-passout', 'pass:x', '-nomac', '-certpbe', 'NONE'),
    pfx(der(2, Buffer.from([1]))),
  ]
  openssl(folder, 'crl2pkcs7', '-nocrl', '-certfile', 'one.pem', '-outform', 'DER', '-out', 'p7.der')
  samples.push(readIn(folder, 'p7.der'))
  const edits = fc.array(fc.tuple(fc.nat(3000), fc.nat(255)), { minLength: 1, maxLength: 6 })
  fc.assert(
    fc.property(fc.constantFrom(...samples), edits, fc.option(fc.nat(3000)), (sample, changes, cut) => {
      const bytes = Buffer.from(sample)
      for (const [at, byte] of changes) bytes[at % bytes.length] = byte
      const decoded = decode(cut === null ? bytes : bytes.subarray(0, cut), 'x')
      return decoded.certificates.length + decoded.problems.length > 0
    }),
    { numRuns: 1500 },
  )
  t.pass('1500 damaged containers give certificates or problems')
})
