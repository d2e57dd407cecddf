import { createHash, X509Certificate } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { type Decoded, decodeCertificates } from '../../../agent/pki/decode/decode.ts'
import { createKey, createRoot, derOf, openssl, pemOf, readIn } from '../../fixtures/pki/openssl.ts'

const folder = t.testdir()
const key = createKey(folder)
const one = createRoot(folder, key, '/C=DE/O=Corp/CN=Root One')
const two = createRoot(folder, key, '/O=Corp/CN=Root Two')
const keyPem = readIn(folder, key).toString('utf8')

const decode = (input: string | Buffer): Decoded => decodeCertificates(Buffer.from(input as string))
const base64 = (input: string | Buffer) => Buffer.from(input as string).toString('base64')
const wrapped = (text: string) => text.replace(/.{1,76}/g, '$&\r\n')
const subjects = (decoded: Decoded) => decoded.certificates.map((certificate) => certificate.subject)
const told = (decoded: Decoded) => decoded.problems.map(({ code, message }) => `${code} ${message}`)

t.test('reads RSA, EC and Ed25519 certificates with the facts that openssl sees', async (t) => {
  for (const kind of ['rsa', 'ec', 'ed25519'] as const) {
    const pem = createRoot(folder, createKey(folder, kind), `/C=DE/O=Corp/CN=${kind}`)
    const [certificate] = decode(pem).certificates
    const x509 = new X509Certificate(pem)
    t.equal(certificate?.pem, pem, 'the canonical form is what openssl writes')
    t.equal(certificate?.fingerprint, `sha256:${createHash('sha256').update(x509.raw).digest('hex')}`)
    t.equal(certificate?.subject, `CN=${kind}, O=Corp, C=DE`)
    t.equal(certificate?.issuer, certificate?.subject)
    t.equal(Date.parse(certificate?.notAfter ?? ''), Date.parse(x509.validTo))
    t.match(certificate?.notBefore, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
    t.match(certificate, { isCa: true, isSelfSigned: true, rsaBits: kind === 'rsa' ? 2048 : undefined })
  }
})

t.test('finds the form by content', async (t) => {
  const der = derOf(one)
  const table: readonly (readonly [string, string | Buffer, readonly string[]])[] = [
    ['PEM', one, ['pem']],
    ['CRLF line ends', one.replaceAll('\n', '\r\n'), ['pem']],
    ['no final newline', one.trimEnd(), ['pem']],
    ['a byte order mark', `\ufeff${one}`, ['pem']],
    ['text around it', `subject=CN = Root One\n\n${one}\nthe end: bye`, ['pem']],
    ['folded into one line by YAML', one.replaceAll('\n', ' '), ['pem']],
    ['the older label', one.replaceAll(' CERTIFICATE', ' X509 CERTIFICATE'), ['pem']],
    ['UTF-16, as Windows tools write it', Buffer.from(`\ufeff${one}`, 'utf16le'), ['pem']],
    ['binary rubbish before PEM', Buffer.concat([Buffer.from([0, 1, 2, 10]), Buffer.from(one)]), ['pem']],
    ['DER', der, ['der']],
    ['base64 of DER', base64(der), ['base64', 'der']],
    ['base64 of DER in lines', wrapped(base64(der)), ['base64', 'der']],
    ['base64 of DER, URL-safe, unpadded', der.toString('base64url'), ['base64', 'der']],
    ['base64 of PEM', base64(one), ['base64', 'pem']],
    ['base64 of base64 of PEM (TKG)', base64(base64(one)), ['base64', 'base64', 'pem']],
    ['base64 of base64 in lines', wrapped(base64(wrapped(base64(one)))), ['base64', 'base64', 'pem']],
    ['a data URI', `data:application/x-pem-file;base64,${base64(one)}`, ['data-uri', 'base64', 'pem']],
    ['a data URI of DER', `data:;base64,${base64(der)}\n`, ['data-uri', 'base64', 'der']],
    ['a data URI without base64', `data:text/plain,${encodeURIComponent(one)}`, ['data-uri', 'pem']],
  ]
  for (const [name, input, encoding] of table) {
    const decoded = decode(input)
    t.same(decoded.encoding, encoding, name)
    t.same(told(decoded), [], name)
    t.equal(decoded.certificates[0]?.pem, one, name)
  }
})

t.test('keeps the order of a bundle and drops what is there twice', async (t) => {
  const decoded = decode(two + one + two)
  t.same(subjects(decoded), ['CN=Root Two, O=Corp', 'CN=Root One, O=Corp, C=DE'])
  t.same(told(decoded), [])
  t.same(subjects(decode(Buffer.concat([derOf(one), derOf(two)]))), [
    'CN=Root One, O=Corp, C=DE',
    'CN=Root Two, O=Corp',
  ])
})

t.test('quarantines one bad block, names its place and goes on', async (t) => {
  const broken = one.replace(/\n[^\n]{64}\n/, '\n')
  const table: readonly (readonly [string, string])[] = [
    [broken, 'ANCHOR_NOT_A_CERTIFICATE block 2 (line LINE) is not an X.509 certificate'],
    [one.replace('MII', 'M!I'), 'ANCHOR_NOT_A_CERTIFICATE block 2 (line LINE) is not valid base64'],
    [
      one.replace(/-----END.*/s, ''),
      'ANCHOR_NOT_A_CERTIFICATE block 2 (line LINE) has no "-----END CERTIFICATE-----" line: it is cut off',
    ],
    [
      one.replace('END CERTIFICATE', 'END X'),
      'ANCHOR_NOT_A_CERTIFICATE block 2 (line LINE) ends with another label than it begins with',
    ],
    [one.replace(/\n[^-]+\n/, '\n'), 'ANCHOR_NOT_A_CERTIFICATE block 2 (line LINE) is empty'],
    [
      one.replace('\n', '\nProc-Type: 4,ENCRYPTED\n'),
      'ANCHOR_NOT_A_CERTIFICATE block 2 (line LINE) has PEM headers ("Name: value"), which a certificate may not have',
    ],
    [
      one.replaceAll('\n', '\\n'),
      'ANCHOR_NOT_A_CERTIFICATE block 2 (line LINE) holds "\\n" as two characters where lines should end: in YAML use a | block or double quotes',
    ],
    [
      pemOf(Buffer.concat([derOf(one), Buffer.from([0])])),
      'ANCHOR_NOT_A_CERTIFICATE block 2 (line LINE) is not an X.509 certificate',
    ],
    [
      one.replaceAll('CERTIFICATE', 'PUBLIC KEY'),
      'ANCHOR_NOT_A_CERTIFICATE block 2 (line LINE) is labelled PUBLIC KEY, not CERTIFICATE',
    ],
    [
      one.replaceAll('CERTIFICATE', 'PKCS7'),
      'ANCHOR_NOT_A_CERTIFICATE block 2 (line LINE) is a PKCS#7 container, but cut off or malformed',
    ],
  ]
  const line = String(two.split('\n').length)
  for (const [bad, expected] of table) {
    const decoded = decode(`${two}${bad}\n${two.replace('x', 'x')}${one}`)
    t.same(told(decoded), [expected.replace('LINE', line)])
    t.same(subjects(decoded), ['CN=Root Two, O=Corp', 'CN=Root One, O=Corp, C=DE'], expected)
  }
})

t.test('uses nothing of an input with a private key, in whatever form, and repeats none of it', async (t) => {
  openssl(folder, 'ec', '-in', key, '-out', 'sec1.key')
  openssl(folder, 'ec', '-in', key, '-outform', 'DER', '-out', 'sec1.der')
  openssl(folder, 'pkcs8', '-topk8', '-nocrypt', '-in', key, '-outform', 'DER', '-out', 'pkcs8.der')
  openssl(folder, 'pkcs8', '-topk8', '-in', key, '-passout', 'pass:secret', '-out', 'encrypted.key')
  openssl(folder, 'pkcs8', '-topk8', '-in', key, '-passout', 'pass:secret', '-outform', 'DER', '-out', 'encrypted.der')
  const rsa = createKey(folder, 'rsa')
  openssl(folder, 'rsa', '-in', rsa, '-traditional', '-outform', 'DER', '-out', 'pkcs1.der')
  const der = (name: string) => readIn(folder, name)
  const table: { readonly [name: string]: string | Buffer } = {
    'PKCS#8 after a certificate': one + keyPem,
    'SEC 1 before a certificate': der('sec1.key').toString('utf8') + one,
    encrypted: one + der('encrypted.key').toString('utf8'),
    'cut off': `${one}-----BEGIN RSA PRIVATE KEY-----\nMII`,
    OpenSSH: '-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----\n',
    'base64 of PEM': base64(one + keyPem),
    'base64 of base64': base64(base64(keyPem)),
    'DER PKCS#8': der('pkcs8.der'),
    'DER PKCS#8 encrypted': der('encrypted.der'),
    'DER PKCS#1': der('pkcs1.der'),
    'DER SEC 1': der('sec1.der'),
    'base64 of DER': base64(der('pkcs8.der')),
    'DER after a certificate': Buffer.concat([derOf(one), der('pkcs8.der')]),
    'under the label of a certificate': one + pemOf(der('pkcs8.der')),
  }
  for (const [name, input] of Object.entries(table)) {
    const decoded = decode(input)
    t.same(told(decoded), ['ANCHOR_PRIVATE_KEY the input holds a private key: nothing of it is used'], name)
    t.same(decoded.certificates, [], name)
  }
})

const SPELLED =
  'its line "-----BEGIN CERTIFICATE-----" must be spelled exactly so, in capital letters between five hyphens'

t.test('says what it found in place of a certificate', async (t) => {
  const none = 'ANCHOR_NOT_A_CERTIFICATE the input holds no certificate:'
  const garbage = `${none} neither PEM, DER nor base64 of one of them begins at byte 0`
  const table: readonly (readonly [string | Buffer, string, readonly string[]])[] = [
    ['', 'ANCHOR_EMPTY the input is empty', []],
    [' \r\n\t', 'ANCHOR_EMPTY the input is empty', []],
    ['\ufeff', 'ANCHOR_EMPTY the input is empty', []],
    ['hello', garbage, []],
    ['0', garbage, []],
    [Buffer.from([0, 1, 2]), garbage, []],
    [base64(base64(base64(one))), garbage, []],
    [
      '\n<!DOCTYPE html><html>',
      `${none} it is an HTML page: the download got a web page in place of the certificate`,
      [],
    ],
    [Buffer.from('1f8b08000000', 'hex'), `${none} it is compressed by gzip: unpack it first`, []],
    ...[
      '\u2013\u2013BEGIN CERTIFICATE\u2013\u2013',
      '-----BEGIN\u00a0CERTIFICATE-----',
      '-----begin certificate-----',
    ].map((line) => [`${line}\nMII\n`, `${none} ${SPELLED}`, []] as const),
    [
      Buffer.from('feedfeed00000002', 'hex'),
      'ANCHOR_NOT_A_CERTIFICATE the input is a Java keystore (JKS): it is cut off, or malformed, at byte 0',
      ['jks'],
    ],
    [
      derOf(one).subarray(0, 100),
      'ANCHOR_NOT_A_CERTIFICATE the input begins like DER, but is cut off or malformed',
      ['der'],
    ],
    [
      Buffer.from('308002010330800000', 'hex'),
      'ANCHOR_NOT_A_CERTIFICATE the input is a PKCS#12 store: the store is cut off or malformed',
      ['pkcs12'],
    ],
    [
      Buffer.alloc(1024 * 1024 + 1, 65),
      'ANCHOR_TOO_LARGE the input has 1048577 bytes, more than the 1048576 that one anchor may hold',
      [],
    ],
    [
      one.repeat(501),
      'ANCHOR_TOO_LARGE the input holds more than the 500 certificates that one anchor may hold',
      ['pem'],
    ],
  ]
  for (const [input, expected, encoding] of table) {
    const decoded = decode(input)
    t.same(told(decoded), [expected])
    t.same(decoded.encoding, encoding, expected)
    t.same(decoded.certificates, [])
  }
})

t.test('refuses what OpenSSL reads and Go does not: a single such CA makes every pull fail', async (t) => {
  const place = 'block 1 (line 1)'
  const der = derOf(createRoot(folder, key, '/CN=good'))
  const utf8 = Buffer.from('0c04676f6f64', 'hex')
  const rename = (tag: number, text: string): string => {
    const copy = Buffer.from(der)
    for (let at = copy.indexOf(utf8); at !== -1; at = copy.indexOf(utf8)) {
      copy[at] = tag
      copy.write(text, at + 2, 'latin1')
    }
    return pemOf(copy)
  }
  writeFileSync(
    join(folder, 'dup.cnf'),
    '[req]\ndistinguished_name=dn\nx509_extensions=x\nprompt=no\n[dn]\nCN=dup\n[x]\n1.2.3.4=ASN1:UTF8String:a\n1.2.3.5=ASN1:UTF8String:b\n',
  )
  const twice = derOf(openssl(folder, 'req', '-x509', '-new', '-key', key, '-config', 'dup.cnf', '-days', '30'))
  twice[twice.indexOf(Buffer.from('06032a0305', 'hex')) + 4] = 4
  const NEWER = 'refused by Go 1.24 (containerd 1.7) and Go 1.27 (containerd 2.1), read by Go 1.19 (containerd 1.6)'
  const table: readonly (readonly [string, string])[] = [
    [
      createRoot(folder, key, '/CN=neg', '-set_serial', '-5'),
      `(CN=neg) cannot be used: its serial number is negative; ${NEWER}`,
    ],
    [
      createRoot(folder, createKey(folder, 'secp256k1'), '/CN=k1'),
      '(CN=k1) cannot be used: its key lies on an elliptic curve other than P-224, P-256, P-384 or P-521',
    ],
    [pemOf(twice), '(CN=dup) cannot be used: it carries the same extension twice'],
    [
      rename(0x13, 'go@d'),
      '(CN=go@d) cannot be used: a name in it holds characters that a PrintableString may not hold',
    ],
    [
      rename(0x16, 'g\u00ffod'),
      '(CN=gÿod) cannot be used: a name in it holds characters that a IA5String may not hold',
    ],
    [rename(0x12, '12-4'), '(CN=12-4) cannot be used: a name in it holds characters that a NumericString may not hold'],
    [
      rename(0x1c, '\0\0\0g'),
      '(CN=g) cannot be used: a name in it has the unsupported string type 0x1c; refused by Go 1.19 (containerd 1.6) and Go 1.24 (containerd 1.7), read by Go 1.27 (containerd 2.1)',
    ],
  ]
  for (const [pem, expected] of table) t.same(told(decode(pem)), [`ANCHOR_UNUSABLE ${place} ${expected}`])
  for (const pem of [rename(0x13, 'g*&d'), rename(0x14, 'g\u00ffod'), rename(0x12, '12 4'), rename(0x1e, '\0g\0d')]) {
    t.same(told(decode(pem)), [], 'Go reads this one')
  }
})

t.test('is not led astray by a PEM block hidden inside a DER certificate', async (t) => {
  writeFileSync(
    join(folder, 'hidden.cnf'),
    `[req]\ndistinguished_name=dn\nx509_extensions=x\nprompt=no\n[dn]\nCN=outer\n[x]\n1.2.3.4=DER:${Buffer.from(`\n${two}`).toString('hex')}\n`,
  )
  const outer = derOf(openssl(folder, 'req', '-x509', '-new', '-key', key, '-config', 'hidden.cnf', '-days', '30'))
  for (const input of [outer, pemOf(outer)]) {
    const decoded = decode(input)
    t.notOk(subjects(decoded).includes('CN=Root Two, O=Corp'))
  }
})

t.test('bounds what it reports', async (t) => {
  const decoded = decode('-----BEGIN X-----\n'.repeat(400))
  t.equal(decoded.problems.length, 21)
  t.equal(decoded.problems.at(-1)?.message, '380 more blocks cannot be used')
})

t.test('never throws, whatever the bytes', async (t) => {
  const der = derOf(one)
  const mutated = fc.tuple(fc.nat(der.length - 1), fc.nat(255)).map(([at, byte]) => {
    const copy = Buffer.from(der)
    copy[at] = byte
    return copy
  })
  const text = fc.array(
    fc.constantFrom(
      '-----BEGIN ',
      '-----END ',
      'CERTIFICATE',
      '-----',
      '\n',
      'MIIB',
      'data:',
      ';base64,',
      '=',
      '%zz',
      '\0',
      one,
    ),
  )
  const input = fc.oneof(
    fc.uint8Array({ maxLength: 500 }).map((bytes) => Buffer.from(bytes)),
    mutated,
    mutated.map((bytes) => Buffer.from(pemOf(bytes))),
    mutated.map((bytes) => Buffer.from(base64(bytes))),
    text.map((parts) => Buffer.from(parts.join(''))),
  )
  fc.assert(
    fc.property(input, (bytes) => {
      const decoded = decodeCertificates(bytes)
      return decoded.certificates.length + decoded.problems.length > 0
    }),
    { numRuns: 1000 },
  )
  t.pass('1000 inputs give certificates or problems')
})

t.test('says which dashes are missing, and takes DER with a line end after it', async (t) => {
  const pem = createRoot(folder, key, '/CN=dashes')
  const reasons = [4, 1, 0].map((left) => told(decode(`${pem.trimEnd().slice(0, -5)}${'-'.repeat(left)}\n`)))
  t.same(reasons, [
    [
      'ANCHOR_NOT_A_CERTIFICATE block 1 (line 1) ends with 4 of the five dashes after "-----END CERTIFICATE": add the rest',
    ],
    [
      'ANCHOR_NOT_A_CERTIFICATE block 1 (line 1) ends with 1 of the five dashes after "-----END CERTIFICATE": add the rest',
    ],
    [
      'ANCHOR_NOT_A_CERTIFICATE block 1 (line 1) ends with none of the five dashes after "-----END CERTIFICATE": add the rest',
    ],
  ])
  const der = derOf(pem)
  for (const end of ['\n', '\r\n']) {
    const { certificates, problems } = decode(Buffer.concat([der, Buffer.from(end)]))
    t.same([certificates.length, problems], [1, []])
  }
  t.match(told(decode(Buffer.concat([der, Buffer.from('\n\n')]))), [/cut off or malformed/])
})
