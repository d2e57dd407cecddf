import t from 'tap'
import { addressBytes } from '../../../agent/pki/certificate/addresses.ts'
import { constraintViolation, parseNameConstraints } from '../../../agent/pki/certificate/name-constraints.ts'
import type { SubjectNames } from '../../../agent/pki/certificate/names.ts'
import { readElement } from '../../../agent/pki/encoding/der.ts'
import { der } from '../../fixtures/pki/certificate-builder.ts'

const DNS = 0x82
const IP = 0x87
const EMAIL = 0x81
const URI = 0x86

type Base = readonly [number, string | Buffer]

function constraints(permitted: readonly Base[], excluded: readonly Base[] = []) {
  const trees = (tag: number, bases: readonly Base[]) =>
    bases.length === 0
      ? []
      : [der(tag, ...bases.map(([kind, value]) => der(0x30, der(kind, Buffer.from(value as string)))))]
  const element = readElement(der(0x30, ...trees(0xa0, permitted), ...trees(0xa1, excluded)))
  return element === undefined ? undefined : parseNameConstraints(element)
}

const range = (address: string, mask: string) =>
  Buffer.concat([addressBytes(address) ?? Buffer.alloc(0), addressBytes(mask) ?? Buffer.alloc(0)])

function names(given: { dns?: string; ip?: string; email?: string; uri?: string }): SubjectNames {
  const list = (text: string | undefined) => (text === undefined ? [] : [text])
  const addresses = list(given.ip).map((text) => addressBytes(text) ?? Buffer.alloc(4))
  return { dns: list(given.dns), addresses, emails: list(given.email), uris: list(given.uri) }
}

t.test('each kind of name is held against the constraints of its kind', async (t) => {
  const table: readonly (readonly [
    readonly Base[],
    readonly Base[],
    Parameters<typeof names>[0],
    string | undefined,
  ])[] = [
    [[[DNS, 'example.net']], [], { dns: 'reg.example.net' }, undefined],
    [[[DNS, 'example.net']], [], { dns: 'example.net' }, undefined],
    [[[DNS, '.example.net']], [], { dns: 'example.net' }, 'DNS name "example.net" is not permitted by any constraint'],
    [
      [[DNS, 'example.net']],
      [],
      { dns: 'notexample.net' },
      'DNS name "notexample.net" is not permitted by any constraint',
    ],
    [[[DNS, 'example.net']], [], { ip: '192.0.2.1' }, undefined],
    [[[IP, range('192.0.2.0', '255.255.255.0')]], [], { ip: '192.0.2.77' }, undefined],
    [
      [[IP, range('192.0.2.0', '255.255.255.0')]],
      [],
      { ip: '192.0.3.1' },
      'IP address "192.0.3.1" is not permitted by any constraint',
    ],
    [
      [[IP, range('192.0.2.0', '255.255.255.0')]],
      [],
      { ip: '2001:db8::1' },
      'IP address "2001:db8::1" is not permitted by any constraint',
    ],
    [[], [[IP, range('2001:db8::', 'ffff:ffff::')]], { ip: '2001:db8::1' }, 'IP address "2001:db8::1" is excluded'],
    [[], [[DNS, 'reg.example.net']], { dns: 'a.reg.example.net' }, 'DNS name "a.reg.example.net" is excluded'],
    [[], [[DNS, 'reg.example.net']], { dns: 'example.net' }, undefined],
    [
      [[EMAIL, 'example.net']],
      [],
      { email: 'a@example.org' },
      'email address "a@example.org" is not permitted by any constraint',
    ],
    [[[EMAIL, 'a@example.net']], [], { email: 'a@example.net' }, undefined],
    [[[URI, '.example.net']], [], { uri: 'https://x.example.net/y' }, undefined],
    [
      [[URI, '.example.net']],
      [],
      { uri: 'https://example.org/y' },
      'URI "https://example.org/y" is not permitted by any constraint',
    ],
  ]
  for (const [permitted, excluded, given, expected] of table) {
    const parsed = constraints(permitted, excluded)
    if (parsed === undefined) throw new Error('the constraints of the test are malformed')
    t.equal(
      constraintViolation(names(given), parsed.constraints),
      expected,
      JSON.stringify([permitted, excluded, given]),
    )
  }
})

t.test('malformed constraints are refused, unknown kinds are told', async (t) => {
  t.equal(constraints([]), undefined, 'empty')
  t.equal(constraints([[IP, Buffer.alloc(5)]]), undefined, 'an address of five bytes')
  t.equal(constraints([[IP, range('192.0.2.0', '255.0.255.0')]]), undefined, 'a mask with a hole')
  t.equal(constraints([[0xa4, Buffer.from([0x30, 0])]])?.hasUnknownKind, true, 'a directory name')
  t.equal(constraints([[DNS, 'x']])?.hasUnknownKind, false)
})
