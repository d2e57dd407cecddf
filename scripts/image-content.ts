// Puts together what the image holds besides its base: the bundles, the commands that start them, the Node binary as it
// was published, the
// bill of materials and the licences. Two runs on the same sources give the same bytes.
// usage: image-content.ts [FOLDER [ARCHITECTURE]], the latter as images name it: amd64 or arm64, by default this
// machine's
import { execFileSync } from 'node:child_process'
import { chmodSync, copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { billOfMaterials, type Lock, licenceList } from './bill-of-materials.ts'
import { copyNodeBinary } from './node-binary.ts'

const root = join(import.meta.dirname, '..')
const [out = join(root, 'dist/image'), architecture] = process.argv.slice(2)
const folder = join(out, 'registry-trust')
/**
 * The commands of the image's PATH. The kernel starts the interpreter of the first line itself: no shell and no env is
 * needed.
 */
const COMMANDS = ['registry-trust', 'registry-trust-sidecar']

rmSync(out, { recursive: true, force: true })
mkdirSync(folder, { recursive: true })
const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as Lock
// The binary of the Node project, byte for byte: whoever likes can compare.
copyNodeBinary(architecture, lock, join(out, 'node'))
execFileSync(process.execPath, [join(root, 'scripts/build.ts'), folder], { cwd: root, stdio: 'inherit' })
for (const name of readdirSync(folder).filter((name) => name.endsWith('.map'))) rmSync(join(folder, name))

// Only that Node.js can say what it makes of the program, so an image for another architecture has none of it.
if (isOfThisMachine(architecture))
  execFileSync(
    join(out, 'node'),
    [
      '--random-seed=1',
      '--initial-old-space-size=2000',
      join(root, 'scripts/code-cache.ts'),
      folder,
      '/usr/lib/registry-trust',
    ],
    // With NODE_COMPILE_CACHE set V8 makes other bytes of the same program.
    { cwd: root, stdio: 'inherit', env: { ...process.env, NODE_DISABLE_COMPILE_CACHE: '1' } },
  )

mkdirSync(join(out, 'bin'))
for (const name of COMMANDS) {
  const launcher = `#!/usr/bin/node --max-semi-space-size=1\nrequire('/usr/lib/registry-trust/${name}.cjs')\n`
  writeFileSync(join(out, 'bin', name), launcher)
  chmodSync(join(out, 'bin', name), 0o755)
}

const bom = billOfMaterials(lock, process.versions.node)
writeFileSync(join(folder, 'sbom.cdx.json'), `${JSON.stringify(bom, null, 2)}\n`)
writeFileSync(join(folder, 'LICENCES.txt'), licenceList(bom))
copyFileSync(join(root, 'LICENSE'), join(folder, 'LICENSE'))
for (const name of readdirSync(folder)) {
  chmodSync(join(folder, name), 0o644)
  console.log(`${String(readFileSync(join(folder, name)).length).padStart(9)} ${name}`)
}

function isOfThisMachine(architecture = nameOfThis()): boolean {
  return architecture === nameOfThis()
}

/** As images name it. */
function nameOfThis(): string {
  return process.arch === 'x64' ? 'amd64' : process.arch
}
