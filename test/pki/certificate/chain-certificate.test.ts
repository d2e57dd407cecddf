import { X509Certificate } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'
import { readChainCertificate } from '../../../agent/pki/certificate/chain-certificate.ts'
import { rootsInPem } from '../../../agent/pki/chain/roots.ts'
import { createKey, createRoot, derOf } from '../../fixtures/pki/openssl.ts'

const folder = t.testdir()

t.test('reads what decides a verification, as openssl wrote it', async (t) => {
  const key = createKey(folder)
  const more = [
    'basicConstraints=critical,CA:TRUE,pathlen:2',
    'keyUsage=critical,keyCertSign,digitalSignature',
    'extendedKeyUsage=serverAuth,clientAuth',
    'subjectAltName=DNS:a.example.net,IP:192.0.2.1,IP:2001:db8::1,email:a@b.c,URI:https://d.e/',
    'nameConstraints=critical,permitted;DNS:example.net,excluded;IP:10.0.0.0/255.0.0.0',
    'authorityInfoAccess=caIssuers;URI:http://pki.example.net/ca.crt,OCSP;URI:http://ocsp.example.net',
    '1.2.3.4=critical,ASN1:NULL',
  ].flatMap((one) => ['-addext', one])
  const read = readChainCertificate(
    derOf(createRoot(folder, key, '/O=Corp/CN=First/CN=Corp Root', '-days', '9', ...more)),
  )
  if (!read.ok) throw new Error(read.reason)
  t.match(read.certificate, {
    commonName: 'Corp Root',
    version: 3,
    isSelfSigned: true,
    basicConstraints: { isCa: true, maxPathLength: 2 },
    keyUsage: 0b100001,
    extendedKeyUsage: ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'],
    names: { dns: ['a.example.net'], emails: ['a@b.c'], uris: ['https://d.e/'] },
    nameConstraints: { permitted: { dns: ['example.net'] } },
    issuerUrls: ['http://pki.example.net/ca.crt'],
    unhandledCritical: ['1.2.3.4'],
    signature: { name: 'ECDSA-SHA256', strength: 'good' },
  })
  t.same(
    read.certificate.names?.addresses.map((bytes) => bytes.toString('hex')),
    ['c0000201', '20010db8000000000000000000000001'],
  )
  t.match(read.certificate.subjectKeyId, /^[0-9a-f]{40}$/)
})

t.test('knows which signatures containerd accepts', async (t) => {
  const rsa = createKey(folder, 'rsa')
  const pss = (salt: string, ...more: readonly string[]) => [
    '-sigopt',
    'rsa_padding_mode:pss',
    '-sigopt',
    `rsa_pss_saltlen:${salt}`,
    ...more,
  ]
  const table: readonly (readonly [readonly string[], string, string])[] = [
    [['-sha256'], 'SHA256-RSA', 'good'],
    [['-sha512'], 'SHA512-RSA', 'good'],
    [['-sha1'], 'SHA1-RSA', 'insecure'],
    [['-md5'], 'MD5-RSA', 'insecure'],
    [['-sha224'], '1.2.840.113549.1.1.14', 'unknown'],
    [['-sha256', ...pss('32')], 'SHA256-RSAPSS', 'good'],
    [['-sha384', ...pss('48')], 'SHA384-RSAPSS', 'good'],
    [['-sha256', ...pss('20')], 'RSA-PSS with unusual parameters', 'unknown'],
  ]
  for (const [options, name, strength] of table) {
    const read = readChainCertificate(derOf(createRoot(folder, rsa, '/CN=x', '-days', '9', ...options)))
    t.match(read, { ok: true, certificate: { signature: { name, strength }, isSelfSigned: true } }, options.join(' '))
  }
  const small = readChainCertificate(derOf(createRoot(folder, createKey(folder, 'rsa-1024'), '/CN=x')))
  t.ok(small.ok && small.certificate.publicKey !== undefined, '1024 bits are the least that Go verifies with')
})

t.test('refuses what Go does not parse, with the reason', async (t) => {
  const key = createKey(folder)
  const table: readonly (readonly [readonly string[], RegExp])[] = [
    [['-addext', 'subjectAltName=DER:300487020102'], /subjectAltName holds an IP address of 2 bytes/],
    [
      ['-addext', 'subjectAltName=DER:30038201ff'],
      /subjectAltName holds a DNS name with characters that are not ASCII/,
    ],
    [['-addext', 'nameConstraints=DER:3000'], /nameConstraints is empty/],
    [['-addext', 'extendedKeyUsage=DER:020101'], /extendedKeyUsage is malformed/],
    [['-set_serial', '-1'], /serial number is negative/],
  ]
  for (const [options, reason] of table) {
    const read = readChainCertificate(derOf(createRoot(folder, key, '/CN=x', '-days', '9', ...options)))
    t.match(read, { ok: false, reason }, options.join(' '))
  }
  t.match(readChainCertificate(Buffer.from('3000', 'hex')), { ok: false, reason: 'it is not an X.509 certificate' })
})

t.test('reads every root of this machine', async (t) => {
  const bundle = '/etc/ssl/certs/ca-certificates.crt'
  const text = existsSync(bundle) ? readFileSync(bundle, 'utf8') : createRoot(folder, createKey(folder), '/CN=only')
  const roots = rootsInPem(text)
  t.equal(roots.length, new Set(text.match(/-----BEGIN CERTIFICATE-----[^-]*/g)).size, `all of ${bundle}`)
  t.same(
    roots
      .filter(({ isSelfSigned, publicKey }) => !isSelfSigned || publicKey === undefined)
      .map(({ subject }) => subject),
    [],
  )
})

t.test('a signature is verified once, and only where somebody asks for it', (t) => {
  const pem = createRoot(folder, createKey(folder), '/CN=Asked Root')
  const { verify } = X509Certificate.prototype
  let verified = 0
  X509Certificate.prototype.verify = function (key) {
    verified += 1
    return verify.call(this, key)
  }
  t.teardown(() => {
    X509Certificate.prototype.verify = verify
  })
  const [root] = rootsInPem(pem)
  t.equal(verified, 0, 'a store of 150 roots is read without any')
  t.same([root?.isSelfSigned, root?.isSelfSigned], [true, true])
  t.equal(verified, 1)
  t.end()
})
