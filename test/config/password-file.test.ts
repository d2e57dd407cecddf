// A PKCS#12 store as an anchor: its password comes from a file beside it and shows nowhere.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inspect } from 'node:util'
import t from 'tap'
import { desiredOf, type Files, loadFiles, told } from '../fixtures/config/fixture.ts'
import { createKey, createRoot, openssl } from '../fixtures/pki/openssl.ts'

const folder = t.testdir()
const root = createRoot(folder, createKey(folder), '/CN=Stored Root')
writeFileSync(join(folder, 'root.pem'), root)
openssl(folder, 'pkcs12', '-export', '-nokeys', '-in', 'root.pem', '-passout', 'pass:hunter2', '-out', 'store.p12')
const store = readFileSync(join(folder, 'store.p12'))
const YAML =
  'anchors:\n  vendor: { file: store.p12, passwordFile: password }\nregistries: [{ host: a.b, anchors: [vendor] }]\n'

let count = 0
async function load(files: Files, yaml = YAML) {
  const at = join(folder, `case-${count++}`)
  mkdirSync(at)
  return { at, result: await loadFiles(at, { 'trust.yaml': yaml, 'store.p12': store, ...files }) }
}

t.test('opens a store with the first line of its password file', async (t) => {
  for (const password of ['hunter2', 'hunter2\n', 'hunter2\r\n', 'hunter2\nsecond line\n']) {
    const { at, result } = await load({ password })
    const desired = desiredOf(result)
    t.same(result.ok && result.problems, [])
    t.equal(desired.anchors[0]?.certificates[0]?.pem, root)
    t.same(desired.sources, [`${at}/trust.yaml`, `${at}/store.p12`, `${at}/password`])
    t.notMatch(inspect(result, { depth: 9 }) + JSON.stringify(result), /hunter2/)
  }
})

t.test('holds the anchor, and says why, when the password is missing or wrong', async (t) => {
  const table: readonly (readonly [Files, string])[] = [
    [{}, 'ANCHOR_MISSING trust.yaml:2:44: anchors.vendor.passwordFile names password, which is not in .'],
    [
      { password: 'hunter3' },
      'ANCHOR_PASSWORD store.p12: the input is a PKCS#12 store: the password given does not open it',
    ],
    [{ password: '' }, 'ANCHOR_PASSWORD store.p12: the input is a PKCS#12 store: the password given does not open it'],
    [
      { 'password/x': '' },
      'ANCHOR_UNREADABLE trust.yaml:2:44: anchors.vendor.passwordFile names password, which is not a readable file of at most 4096 bytes',
    ],
    [
      { password: 'x'.repeat(5_000) },
      'ANCHOR_UNREADABLE trust.yaml:2:44: anchors.vendor.passwordFile names password, which is not a readable file of at most 4096 bytes',
    ],
  ]
  for (const [files, expected] of table) {
    const { at, result } = await load(files)
    t.same(told(desiredOf(result).anchors[0]?.problems ?? [], at), [expected])
    t.same(desiredOf(result).anchors[0]?.certificates, [])
    t.notMatch(JSON.stringify(result), /hunter3/)
  }
})

t.test('refuses a password file without a store, or outside the folder', async (t) => {
  const refused = async (yaml: string) => {
    const { at, result } = await load({}, yaml)
    return result.ok ? [] : told(result.problems, at)
  }
  t.same(await refused('anchors: { x: { pem: "-----BEGIN", passwordFile: p } }'), [
    'CONFIG_INVALID trust.yaml:1:36: anchors.x.passwordFile is for a PKCS#12 store and needs the key file beside it',
  ])
  t.match(await refused('anchors: { x: { file: a, passwordFile: ../p } }'), [
    /^CONFIG_INVALID .*passwordFile must not lead out/,
  ])
})

t.test('accepts proofs by TLS alone', async (t) => {
  const { result } = await load({}, 'registries: [{ host: a.b, proof: { level: tls } }]')
  t.match(desiredOf(result).registries, [{ host: 'a.b', proof: { level: 'tls' } }])
})
