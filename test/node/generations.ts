// The containerd generations that scripts/install-fixtures fetched, labelled by the version found, and the one table of what a version
// line is expected to do. Debian's newest suite moves on: when it brings a new line, its row is added here and nowhere else.
import { execFileSync } from 'node:child_process'
import { accessSync, constants, existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

export type Expected = {
  /** `version` of `containerd config default`. */
  readonly configVersion: 2 | 3 | 4
  /** Plugin that owns the registry settings. */
  readonly registryPlugin: 'io.containerd.grpc.v1.cri' | 'io.containerd.cri.v1.images'
  /** Verbose CRI Status tells the loaded registry settings. */
  readonly statusShowsRegistry: boolean
  /** CRI Status has the condition ContainerdHasNoDeprecationWarnings. */
  readonly reportsDeprecations: boolean
  /** CRI v1alpha2 is still served. */
  readonly servesCriAlpha: boolean
}

const ONE: Expected = {
  configVersion: 2,
  registryPlugin: 'io.containerd.grpc.v1.cri',
  statusShowsRegistry: true,
  reportsDeprecations: true,
  servesCriAlpha: true,
}

/** By version line, oldest first; a line that is not here is expected to be like the one before it. */
const EXPECTED: readonly { readonly line: string; readonly expected: Expected }[] = [
  { line: '1.6', expected: { ...ONE, reportsDeprecations: false } },
  { line: '1.7', expected: ONE },
  {
    line: '2.1',
    expected: {
      configVersion: 3,
      registryPlugin: 'io.containerd.cri.v1.images',
      statusShowsRegistry: false,
      reportsDeprecations: true,
      servesCriAlpha: false,
    },
  },
]

export type Generation = {
  /** Version line, e.g. "1.7". */
  readonly label: string
  readonly version: string
  /** Debian suite it came from, or "machine". */
  readonly suite: string
  /** Folder with containerd, ctr and containerd-shim-runc-v2. */
  readonly bin: string
  readonly expected: Expected
}

export const SUITES = ['bookworm', 'trixie', 'sid'] as const

export function cacheFolder(): string {
  return process.env['REGISTRY_TRUST_CACHE'] ?? '/var/cache/registry-trust-fixtures'
}

/** Why no node can be started on this machine, or undefined. */
export function fixturesUnavailable(): string | undefined {
  if (process.platform !== 'linux') return 'the fixtures need Linux'
  if (process.getuid?.() !== 0) return 'the fixtures need root'
  if (!existsSync(join(cacheFolder(), 'tools'))) return 'run scripts/install-fixtures first'
  return undefined
}

export function findGenerations(): { readonly found: readonly Generation[]; readonly missing: readonly string[] } {
  const found: Generation[] = []
  const missing: string[] = []
  for (const suite of SUITES) {
    const folder = join(cacheFolder(), 'generations', suite)
    if (existsSync(join(folder, 'version'))) {
      found.push(describe(suite, join(folder, 'bin'), readFileSync(join(folder, 'version'), 'utf8')))
    } else missing.push(suite)
  }
  return { found, missing }
}

/** The containerd installed on this machine, or the one fetched from its own suite where none is: what the demo shows. */
export function machineGeneration(): Generation {
  const bin = ['/usr/bin', '/usr/local/bin', join(cacheFolder(), 'tools/containerd/usr/bin')].find((folder) =>
    isExecutable(join(folder, 'containerd')),
  )
  if (bin === undefined) throw new Error('no containerd on this machine: run scripts/install-fixtures --demo')
  return describe('machine', bin, execFileSync(join(bin, 'containerd'), ['--version'], { encoding: 'utf8' }))
}

/** A program of a package that install-fixtures unpacked, e.g. tool('docker-registry', 'docker-registry'). */
export function tool(name: string, program: string): string {
  const folders = ['usr/bin', 'usr/sbin', 'bin', 'sbin'].map((folder) => join(cacheFolder(), 'tools', name, folder))
  const file = folders.map((folder) => join(folder, program)).find(isExecutable)
  if (file === undefined) throw new Error(`${program} is not in ${cacheFolder()}/tools: run scripts/install-fixtures`)
  return file
}

/** PATH of a node: the generation's programs first, then the machine's, then what was unpacked because the machine had none. */
export function nodePath(generation: Generation): string {
  const unpacked = ['usr/sbin', 'usr/bin'].map((folder) => join(cacheFolder(), 'tools/runc', folder))
  return [
    generation.bin,
    '/usr/local/sbin',
    '/usr/local/bin',
    '/usr/sbin',
    '/usr/bin',
    '/sbin',
    '/bin',
    ...unpacked,
  ].join(':')
}

export function expectedOf(label: string): Expected {
  const rows = EXPECTED.filter((row) => compareLines(row.line, label) <= 0)
  const row = rows.at(-1)
  if (row === undefined) throw new Error(`containerd ${label} is older than every version these tests know`)
  return row.expected
}

function describe(suite: string, bin: string, versionText: string): Generation {
  const match = /\bv?((\d+\.\d+)\.\d+)/.exec(versionText)
  const [version, label] = [match?.[1], match?.[2]]
  if (version === undefined || label === undefined) throw new Error(`no version in: ${versionText}`)
  return { label, version, suite, bin, expected: expectedOf(label) }
}

function compareLines(a: string, b: string): number {
  const [left, right] = [a.split('.').map(Number), b.split('.').map(Number)]
  return (left[0] ?? 0) - (right[0] ?? 0) || (left[1] ?? 0) - (right[1] ?? 0)
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}
