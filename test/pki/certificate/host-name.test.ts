import t from 'tap'
import { addressBytes, addressText } from '../../../agent/pki/certificate/addresses.ts'
import { hostMismatch, type NamedCertificate } from '../../../agent/pki/certificate/host-name.ts'

function named(dns: readonly string[], addresses: readonly string[] = [], commonName = ''): NamedCertificate {
  const bytes = addresses.map((text) => addressBytes(text) ?? Buffer.alloc(4))
  return { commonName, names: { dns, addresses: bytes, emails: [], uris: [] } }
}

t.test('a name is covered by itself and by a wildcard for its whole first label', async (t) => {
  const table: readonly (readonly [string, string, boolean])[] = [
    ['reg.example.net', 'reg.example.net', true],
    ['reg.example.net', 'REG.Example.NET', true],
    ['REG.example.net', 'reg.example.net', true],
    ['reg.example.net', 'reg.example.net.', true],
    ['*.example.net', 'reg.example.net', true],
    ['*.example.net', 'example.net', false],
    ['*.example.net', 'a.b.example.net', false],
    ['*.*.example.net', 'a.b.example.net', false],
    ['r*.example.net', 'reg.example.net', false],
    ['*', 'localhost', false],
    ['reg_1.example.net', 'reg_1.example.net', true],
    ['*.example.net', '-x.example.net', false],
    ['reg.example.net.', 'reg.example.net', false],
    ['192.0.2.1', '192.0.2.1', false],
    ['', 'reg.example.net', false],
  ]
  for (const [pattern, host, isCovered] of table) {
    t.equal(hostMismatch(named([pattern]), host) === undefined, isCovered, `${pattern} for ${host}`)
  }
})

t.test('an address is covered by the same address alone, however it is written', async (t) => {
  t.equal(hostMismatch(named([], ['192.0.2.1']), '192.0.2.1'), undefined)
  t.equal(hostMismatch(named([], ['2001:db8::1']), '[2001:DB8:0:0::1]'), undefined)
  t.equal(hostMismatch(named([], ['192.0.2.1']), '::ffff:192.0.2.1'), undefined)
  t.same(hostMismatch(named(['*.example.net'], ['192.0.2.1', '2001:db8::5']), '192.0.2.2'), {
    kind: 'other-names',
    names: ['192.0.2.1', '2001:db8::5'],
  })
})

t.test('says why a certificate is not valid for a host', async (t) => {
  t.same(hostMismatch(named(['a.b', 'c.d']), 'e.f'), { kind: 'other-names', names: ['a.b', 'c.d'] })
  t.same(hostMismatch(named(['a.b']), '192.0.2.1'), { kind: 'no-addresses' })
  t.same(hostMismatch(named([]), 'a.b'), { kind: 'no-names' })
  t.same(hostMismatch({ commonName: 'a.b' }, 'a.b'), { kind: 'common-name-only' })
  t.same(hostMismatch({ commonName: '*.b' }, 'a.b'), { kind: 'common-name-only' })
  t.same(hostMismatch({ commonName: 'c.d' }, 'a.b'), { kind: 'no-names' })
  t.same(
    hostMismatch(named([], [], 'a.b'), 'a.b'),
    { kind: 'no-names' },
    'with a subjectAltName the common name is not even mentioned',
  )
})

t.test('addresses are read and written in one form', async (t) => {
  const table = [
    ['10.1.2.3', '0a010203', '10.1.2.3'],
    ['::1', '00000000000000000000000000000001', '::1'],
    ['2001:db8::1:0:0:2', '20010db8000000000001000000000002', '2001:db8::1:0:0:2'],
    ['::ffff:1.2.3.4', '01020304', '1.2.3.4'],
    ['64:ff9b::192.0.2.33', '0064ff9b0000000000000000c0000221', '64:ff9b::c000:221'],
  ] as const
  for (const [text, hex, back] of table) {
    const bytes = addressBytes(text)
    t.equal(bytes?.toString('hex'), hex, text)
    t.equal(addressText(bytes ?? Buffer.alloc(4)), back)
  }
  for (const text of ['reg.example.net', '1.2.3', '1.2.3.4.5', 'fe80::1%eth0', ''])
    t.equal(addressBytes(text), undefined, text)
})
