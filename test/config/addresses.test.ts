// registries[].addresses: which are refused, whose, and from whom; one spelling, and a generation of their own.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { desiredOf, type Files, loadFiles, wrongWith } from '../fixtures/config/fixture.ts'

const folder = t.testdir()
let count = 0
async function load(registries: string, more: Files = {}, sections = '') {
  const at = join(folder, `case-${count++}`)
  mkdirSync(at)
  return loadFiles(at, { 'trust.yaml': `registries: ${registries}\n${sections}`, ...more })
}

t.test('addresses are kept in one spelling, and decide the generation', async (t) => {
  const one = desiredOf(await load('[{ host: "a.net:5000", addresses: [10.0.0.1, "2001:DB8:0::1"] }]'))
  t.same(one.registries[0]?.addresses, ['10.0.0.1', '2001:db8::1'])
  const other = desiredOf(await load('[{ host: "a.net:5000", addresses: [10.0.0.1, "2001:db8::1"] }]'))
  t.equal(one.generation, other.generation)
  const none = desiredOf(await load('[{ host: "a.net:5000" }]'))
  t.not(one.generation, none.generation)
  const off = desiredOf(await load('[{ host: "a.net:5000" }]', {}, 'targets: { hostsFile: { enabled: false } }'))
  t.not(off.generation, none.generation)
})

t.test('what is no address of a server is refused where it stands', async (t) => {
  const table: readonly (readonly [text: string, why: RegExp])[] = [
    ['registry.net', /addresses\[0\] must be an IPv4 or IPv6 address .* found "registry\.net"/],
    ['"10.0.0.1:5000"', /without a port/],
    ['"[2001:db8::1]"', /brackets/],
    ['10.0.0.0/8', /prefix length/],
    ['010.0.0.1', /must be an IPv4 or IPv6 address/],
    ['10.1', /must be|expected|string/],
    ['5', /addresses\[0\]/],
    ['"*"', /must be an IPv4 or IPv6 address/],
    ['0.0.0.0', /unspecified/],
    ['"::"', /unspecified/],
    ['224.0.0.1', /multicast/],
    ['255.255.255.255', /reserved/],
    ['169.254.1.1', /link-local/],
    ['"fe80::1"', /link-local/],
    ['"fe80::1%eth0"', /zone/],
    ['"ff02::1"', /multicast/],
    ['"::ffff:10.0.0.1"', /must be written as an IPv4 address: 10\.0\.0\.1/],
  ]
  for (const [text, why] of table) {
    const problems = wrongWith(await load(`[{ host: a.net, addresses: [${text}] }]`))
    t.equal(problems.length, 1, text)
    t.match(problems, [{ code: 'CONFIG_INVALID', message: why }], text)
    t.match(problems[0]?.message, /trust\.yaml:1:\d+/, text)
  }
  t.match(wrongWith(await load('[{ host: a.net, addresses: [] }]')), [{ code: 'CONFIG_INVALID' }])
  t.match(wrongWith(await load('[{ host: a.net, addresses: 10.0.0.1 }]')), [{ code: 'CONFIG_INVALID' }])
  const twice = '[{ host: a.net, addresses: ["2001:db8::1", 10.0.0.1, "2001:db8:0::1"] }]'
  t.match(wrongWith(await load(twice)), [{ message: /addresses\[2\] is the address of addresses\[0\]/ }])
})

t.test("only a name can have addresses, and no name that is not the registry's to give", async (t) => {
  const table: readonly (readonly [host: string, why: RegExp, sections?: string])[] = [
    ['10.0.0.1', /does not apply to 10\.0\.0\.1, which is an address itself/],
    ['10.0.0.1:5000', /which is an address itself/],
    ['docker.io', /has no effect for docker\.io/],
    ['registry-1.docker.io', /policy\.forbidAnchorsFor lists it/],
    ['quay.io', /policy\.forbidAnchorsFor lists it/, 'policy: { forbidAnchorsFor: [quay.io] }'],
    ['a.localhost', /a name that every node has for itself/],
    ['localhost.localdomain:5000', /a name that every node has for itself/],
    ['"*"', /does not apply to host "\*"/, 'policy: { allowWildcard: true }'],
  ]
  for (const [host, why, sections] of table) {
    const problems = wrongWith(await load(`[{ host: ${host}, addresses: [10.0.0.9] }]`, {}, sections))
    t.match(problems, [{ message: why }], host)
    t.equal(problems.length, 1, host)
  }
  for (const host of ['registry:5000', 'reg.default.svc:5000', 'my_reg.net', 'xn--bcher-kva.example'])
    t.same(wrongWith(await load(`[{ host: "${host}", addresses: [10.0.0.9] }]`)), [], host)
})

t.test('registries of one name have the same addresses', async (t) => {
  const two = (second: string) => `[{ host: "a.net:1", addresses: [10.0.0.1, 10.0.0.2] }, { host: "a.net:2"${second} }]`
  t.same(wrongWith(await load(two(''))), [])
  t.same(wrongWith(await load(two(', addresses: [10.0.0.2, 10.0.0.1]'))), [])
  t.match(wrongWith(await load(two(', addresses: [10.0.0.1]'))), [
    { code: 'CONFIG_CONFLICT', message: /trust\.yaml:1:\d+: .*contradicts .*trust\.yaml:1:\d+.* has no ports/ },
  ])
})

t.test('a fragment gives addresses only where policy.fragments permits it', async (t) => {
  const fragment = { 'registries.d/t.yaml': 'registries: [{ host: b.net, addresses: [10.0.0.1] }]' }
  const permit = (rule: string) => `policy: { fragments: { t.yaml: { hosts: ["*"]${rule} } } }`
  for (const sections of ['', permit(''), permit(', addresses: false')])
    t.match(wrongWith(await load('[]', fragment, sections)), [
      { code: 'FRAGMENT_NOT_ALLOWED', message: /registries\.d\/t\.yaml:1:\d+: .*addresses is for the hosts file/ },
    ])
  const permitted = await load('[]', fragment, permit(', addresses: true'))
  t.same(wrongWith(permitted), [])
  t.match(desiredOf(permitted).registries, [{ host: 'b.net', addresses: ['10.0.0.1'] }])
})
