// The other ways to the image: for arm64, and through the build stage of the Dockerfile. What takes long is done with
// REGISTRY_TRUST_FULL=1: the arm64 image is assembled and does the main job on a node, run by an emulator, and the
// whole Dockerfile is built with `npm ci` in it.
import { execFile } from 'node:child_process'
import {
  closeSync,
  cpSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
} from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { type Bom, licenceOf } from '../../scripts/bill-of-materials.ts'
import { RUNS_AT_START } from '../../scripts/bundled/parts.ts'
import { builtImage, imageArchive, imageUnavailable } from '../fixtures/deploy/image.ts'
import { type OciImage, readImage, unpackRoot } from '../fixtures/deploy/oci-archive.ts'
import { AgentOnNode, startPrivateRegistry } from '../fixtures/e2e/agent-on-node.ts'
import { tool } from '../fixtures/node/generations.ts'
import { newestGeneration, sandboxNode } from '../fixtures/node/node-tests.ts'
import { defaultConfig, withConfigPath } from '../fixtures/node/sandbox-node.ts'

const run = promisify(execFile)
const ROOT = join(import.meta.dirname, '../..')
const IS_FULL = process.env['REGISTRY_TRUST_FULL'] === '1'
const BUILD_MS = 600_000
const PERMISSIVE =
  /^(MIT|ISC|BSD-2-Clause|BSD-3-Clause|Apache-2\.0|BlueOak-1\.0\.0|0BSD|Unlicense|CC0-1\.0|\(?BSD-3-Clause OR GPL-2\.0\)?|\(?MIT OR .*\)?|Python-2\.0|PSF-2\.0)$/
const HOST = 'harbor.example.net'
const OWN = process.arch === 'arm64' ? 'arm64' : 'amd64'
/** The image that other tests have built; one that is given may be of other sources. */
const IS_BUILT_HERE = imageUnavailable() === undefined && (process.env['REGISTRY_TRUST_TEST_IMAGE'] ?? '') === ''

/** Counts the parts whose code V8 takes. */
const COUNT = `const vm = require('node:vm'), { Script } = vm
let [taken, refused] = [0, 0]
vm.Script = class extends Script {
  constructor(source, options) {
    super(source, options)
    if (options.cachedData !== undefined) this.cachedDataRejected ? (refused += 1) : (taken += 1)
  }
}
process.on('exit', () => console.error('taken ' + taken + ' refused ' + refused))`

t.setTimeout(3 * BUILD_MS)

t.test(
  'two builds are equal but for their Node, start from kept code, and hold what they should',
  { timeout: BUILD_MS },
  async (t) => {
    const folder = t.testdir({ 'count.cjs': COUNT })
    const content = async (architecture: string, into = architecture) => {
      const out = join(folder, into)
      await run(process.execPath, [join(ROOT, 'scripts/image-content.ts'), out, architecture], { cwd: ROOT })
      return out
    }
    const contentOf = async (architecture: string) =>
      architecture === OWN && IS_BUILT_HERE
        ? contentOfImage(await imageArchive(), join(folder, architecture))
        : await content(architecture, `in/a/deeper/folder/${architecture}`)
    const [amd64, arm64] = [await contentOf('amd64'), await contentOf('arm64')]
    t.equal(machineOf(join(amd64, 'node')), 'x86-64')
    t.equal(machineOf(join(arm64, 'node')), 'aarch64')
    const isCode = (name: string) => name.endsWith('.code')
    const filesOf = (out: string, isMeant: (name: string) => boolean) =>
      readdirSync(join(out, 'registry-trust'))
        .filter(isMeant)
        .map((name) => [name, readFileSync(join(out, 'registry-trust', name), 'latin1')])
    const program = (out: string) => filesOf(out, (name) => !isCode(name))
    t.ok(program(amd64).length > 4)
    t.strictSame(program(arm64), program(amd64))
    await t.rejects(content('riscv64'), /no package brings Node for riscv64/)

    const [own, other] = process.arch === 'arm64' ? [arm64, amd64] : [amd64, arm64]
    t.same(filesOf(other, isCode), [], 'no V8 here can say what that of another architecture makes of the program')
    const parts = join(own, 'registry-trust')
    const again = join(folder, 'elsewhere')
    cpSync(parts, again, { recursive: true, filter: (path) => !isCode(path) })
    const makeCode = join(ROOT, 'scripts/code-cache.ts')
    // Whether or not whoever built the content had NODE_COMPILE_CACHE set, as a run of all tests has.
    const { NODE_COMPILE_CACHE: _, ...env } = process.env
    await run(
      join(own, 'node'),
      ['--random-seed=1', '--initial-old-space-size=2000', makeCode, again, '/usr/lib/registry-trust'],
      { env },
    )
    for (const [name, code] of filesOf(own, isCode))
      t.ok(readFileSync(join(again, String(name)), 'latin1') === code, `${name}: the same bytes anywhere`)
    const text = (name: string) => readFileSync(join(parts, name), 'latin1')
    const atStart = readdirSync(parts).filter((name) => name.endsWith('.cjs') && text(name).startsWith(RUNS_AT_START))
    t.ok(atStart.includes('registry-trust-program.cjs') && atStart.length > 10, `${atStart.length} parts run at start`)
    t.notOk(atStart.includes('registry-trust-sidecar-program.cjs'), 'the sidecar compiles what it calls')
    const whole = atStart.map((name) => text(`${name}.code`).length / text(name).length)
    t.ok(Math.min(...whole) > 1, `a part that runs at start is compiled whole: ${Math.min(...whole)}`)
    // As the manifests start them.
    const sidecar = ['--max-old-space-size=32', '--max-semi-space-size=1']
    for (const [name, flags] of [
      ['registry-trust.cjs', ['--max-semi-space-size=1']],
      ['registry-trust-sidecar.cjs', sidecar],
    ] as const) {
      const argv = ['--require', join(folder, 'count.cjs'), ...flags, join(parts, name), '--version']
      const { stderr } = await run(join(own, 'node'), argv).catch((failed: { readonly stderr: string }) => failed)
      const [, taken, refused] = /taken (\d+) refused (\d+)$/m.exec(stderr) ?? []
      t.ok(Number(taken) > 5, `${name} took the code of ${taken} parts`)
      t.equal(Number(refused), 0, 'V8 refused none')
    }

    const files = readdirSync(own, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
    const shipped = new Set(files.map(({ name }) => name))
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
    for (const name of needed) t.ok(shipped.has(name), name)
    const others = [...shipped].filter((name) => !needed.includes(name))
    for (const name of others)
      t.match(
        name,
        /^registry-trust((-[A-Z0-9]{8}|(-sidecar|-reader)?-program)\.cjs(\.code)?|\.LEGAL\.txt)$/,
        'a part, its code, or licences',
      )

    t.test('the bill of materials names every dependency and the Node that is shipped', async (t) => {
      const bom = JSON.parse(readFileSync(join(own, 'registry-trust/sbom.cdx.json'), 'utf8')) as Bom
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
      const text = [...shipped]
        .filter((name) => /\.(cjs|json|txt)$/.test(name))
        .map((name) => readFileSync(join(own, 'registry-trust', name), 'latin1'))
      for (const each of text) t.notOk(each.includes(ROOT))
    })
  },
)

if (IS_FULL)
  newestGeneration(t, 'the arm64 image does the main job', async (t, generation) => {
    const archive = await builtImage('arm64', '--platform', 'linux/arm64')
    const { config } = readImage(archive)
    t.match(config, { architecture: 'arm64', os: 'linux' })
    t.same(runAs(config), runAs(readImage(await imageArchive()).config))
    const node = await sandboxNode(t, { generation, config: withConfigPath(defaultConfig(generation)) })
    const root = join(node.scratch, 'arm64')
    unpackRoot(archive, root)
    const programs = filesIn(root).filter((file) => machineOf(file) !== undefined)
    t.ok(programs.length > 5, `${programs.length} programs and libraries`)
    for (const file of programs) t.equal(machineOf(file), 'aarch64', file.slice(root.length))

    const { registry, authority } = await startPrivateRegistry(node, HOST)
    const agent = await AgentOnNode.on(node)
    await agent.configure({ registries: [{ host: HOST, ca: 'corp-root.pem' }] }, { 'corp-root.pem': authority.pem })
    const [interpreter = '', bundle = ''] = config.config.Entrypoint.filter((one) => !one.startsWith('-')).map((path) =>
      join(root, path),
    )
    // The image's own loader and libraries; an emulated root (qemu's -L) would show the agent the image's folders as
    // the node's.
    const libraries = ['lib', 'usr/lib'].map((folder) => join(root, folder, 'aarch64-linux-gnu'))
    const loader = [join(root, 'lib/ld-linux-aarch64.so.1'), '--library-path', libraries.join(':')]
    const emulator = process.arch === 'arm64' ? [] : [tool('qemu-user-static', 'qemu-aarch64-static')]
    const emulated = async (...argv: readonly string[]) =>
      await node.exec([...emulator, ...loader, interpreter, ...argv], { timeoutMs: 120_000 })
    const arm64 = async (...argv: readonly string[]) => await emulated(bundle, ...argv)
    const own = async (...argv: readonly string[]) => await node.exec([process.execPath, bundle, ...argv])

    t.equal((await emulated('-p', 'process.arch')).stdout, 'arm64\n')
    t.same(await arm64('--version'), await own('--version'))
    const inspect = ['inspect', join(agent.config, 'corp-root.pem')]
    t.same(await arm64(...inspect), await own(...inspect))
    const plan = ['plan', '--config', agent.config, '--json']
    const planned = timeless(await arm64(...plan))
    t.match(planned, { code: 2, plan: { rehearsal: { verdict: 'passed' }, restart: { required: false } } })
    t.same(planned, timeless(await own(...plan)), 'the same plan, to the last reason')
    t.match(await node.pull(registry.reference()), { ok: false, message: /x509/ })
    const started = performance.now()
    const applied = await arm64('apply', '--config', agent.config, '--json')
    t.comment(`apply, emulated: ${Math.round(performance.now() - started)} ms`)
    t.equal(applied.code, 0, applied.stdout + applied.stderr)
    t.match(JSON.parse(applied.stdout), { outcome: 'applied', rehearsal: { verdict: 'passed' } })
    t.match(await node.pull(registry.reference()), { ok: true })
    t.match(await arm64('plan', '--config', agent.config), { code: 0 }, 'a second time there is nothing to do')
  })

if (IS_FULL)
  t.test(
    'the Dockerfile, built whole with npm ci in its build stage, gives the same image',
    { timeout: BUILD_MS },
    async (t) => {
      const staged = readImage(await builtImage('staged', '--build-base', 'local'))
      const own = readImage(await imageArchive())
      t.same(staged.layers, own.layers, 'every layer to the last bit')
      t.same(runAs(staged.config), runAs(own.config))
    },
  )

/** All but the labels: they name the commit, and a kept image may be of an earlier one with the same sources. */
function runAs({ config: { User, Entrypoint, Cmd } }: OciImage['config']): object {
  return { User, Entrypoint, Cmd }
}

/** What scripts/image-content.ts put together for an image: in a folder as it was then. */
function contentOfImage(archive: string, out: string): string {
  const root = join(out, 'root')
  unpackRoot(archive, root)
  mkdirSync(join(out, 'bin'))
  renameSync(join(root, 'usr/bin/node'), join(out, 'node'))
  for (const name of readdirSync(join(root, 'usr/bin'))) renameSync(join(root, 'usr/bin', name), join(out, 'bin', name))
  renameSync(join(root, 'usr/lib/registry-trust'), join(out, 'registry-trust'))
  rmSync(root, { recursive: true })
  return out
}

/** What an ELF file is for, or undefined where it is none. */
function machineOf(file: string): string | undefined {
  const header = Buffer.alloc(20)
  const descriptor = openSync(file, 'r')
  readSync(descriptor, header)
  closeSync(descriptor)
  if (header.readUInt32BE() !== 0x7f454c46) return undefined
  const machine = header.readUInt16LE(18)
  return { 62: 'x86-64', 183: 'aarch64' }[machine] ?? `machine ${machine}`
}

function filesIn(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name))
}

function timeless({ code, stdout }: { readonly code: number; readonly stdout: string }): unknown {
  return { code, plan: JSON.parse(stdout.replace(/"durationMs": \d+/g, '"durationMs": 0')) as unknown }
}
