// The situations in which the transaction is killed and its calls fail: what the node is like before, what is done, what it is like after.
import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { build } from 'esbuild'
import type { DesiredState } from '../../agent/model/desired-state.ts'
import { CONFIG, SOCKET } from '../fakes/scratch-runtime.ts'
import { anchor, desired, makeCa, registry } from '../targets/sample.ts'
import type { Step } from './perform.ts'

export type Scene = {
  readonly name: string
  /** The node before: prepared by these commands, one desired state each. */
  readonly before: readonly Step[]
  readonly act: Step
}

const HOST = 'harbor.example.net'
const OTHER = 'other.example.net:5000'

export function scenes(): readonly Scene[] {
  const [first, second, third] = [makeCa('First Root'), makeCa('Second Root'), makeCa('Third Root')]
  const one = desired({
    generation: '111111111111',
    anchors: [anchor('corp', first)],
    registries: [registry(HOST, 'corp')],
  })
  const rotated = { ...one, generation: '222222222222', anchors: [anchor('corp', second)] }
  const two = desired({
    generation: '333333333333',
    anchors: [anchor('corp', first), anchor('lab', third)],
    registries: [registry(HOST, 'corp'), registry(OTHER, 'lab')],
  })
  const legacy = (state: DesiredState, generation: string): DesiredState => ({
    ...state,
    generation,
    targets: { ...state.targets, containerd: { enabled: 'auto', layout: 'legacy' } },
  })
  const [oneLegacy, twoLegacy] = [legacy(one, '444444444444'), legacy(two, '555555555555')]
  const apply = (state: DesiredState): Step => ({ command: 'apply', desired: state })
  return [
    { name: 'install on a fresh node', before: [], act: apply(one) },
    { name: 'rotation of a CA', before: [apply(one)], act: apply(rotated) },
    { name: 'removal of a registry', before: [apply(two)], act: apply(one) },
    { name: 'rollback of a removal', before: [apply(two), apply(one)], act: { command: 'rollback', desired: one } },
    { name: 'rollback of the installation', before: [apply(one)], act: { command: 'rollback', desired: one } },
    { name: 'uninstall', before: [apply(two)], act: { command: 'uninstall', desired: two } },
    { name: 'layout: legacy, a second registry', before: [apply(oneLegacy)], act: apply(twoLegacy) },
    { name: 'layout: legacy, removal of a registry', before: [apply(twoLegacy)], act: apply(oneLegacy) },
    { name: 'layout: legacy, uninstall', before: [apply(twoLegacy)], act: { command: 'uninstall', desired: two } },
    { name: 'layout: legacy to auto', before: [apply(twoLegacy)], act: apply(two) },
  ]
}

const FOREIGN = makeForeignBundle()

function makeForeignBundle(): string {
  return [makeCa('Public Root 1'), makeCa('Public Root 2')].map(({ pem }) => pem).join('')
}

const ORIGINAL_CONFIG = `# written by the administrator
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "pause:3.10" # keep
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = ""
`

/** A node as the distribution made it, on a scratch root. */
export function layOut(root: string): void {
  rmSync(root, { recursive: true, force: true })
  rmSync(`${root}.loaded`, { force: true })
  const write = (path: string, text: string) => {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text, { mode: 0o644 })
  }
  write(CONFIG, ORIGINAL_CONFIG)
  write(SOCKET, '')
  write('/etc/ssl/certs/ca-certificates.crt', FOREIGN)
  write('/etc/ssl/certs/Public_Root_1.pem', FOREIGN.slice(0, FOREIGN.indexOf('-----END') + 26))
  mkdirSync(join(root, '/usr/local/share/ca-certificates'), { recursive: true })
  mkdirSync(join(root, '/var/lib'), { recursive: true })
}

/** A copy with owners, modes, times and links, and of what the runtime had loaded. */
export function copyNode(from: string, to: string): void {
  rmSync(to, { recursive: true, force: true })
  execFileSync('cp', ['-a', from, to])
  rmSync(`${to}.loaded`, { force: true })
  if (existsSync(`${from}.loaded`)) copyFileSync(`${from}.loaded`, `${to}.loaded`)
}

/** One file that starts quickly: hundreds of processes are made of it. */
export async function bundleProgram(folder: string): Promise<string> {
  const outfile = join(folder, 'fault-program.cjs')
  const entryPoints = [join(import.meta.dirname, 'fault-program.ts')]
  await build({
    entryPoints,
    outfile,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node24',
    logLevel: 'warning',
  })
  return outfile
}
