// What containerd makes of a folder of host directories, and what it silently ignores there. Pure over a snapshot.
// Source: containerd core/remotes/docker/config/hosts.go (hostPaths, loadHostDir), measured on 1.6, 1.7 and 2.1.
import type { ContainerdVersion } from '../config/schema-version.ts'
import { type HostsFile, type ParsedHostsFile, parseHostsFile } from './hosts-toml.ts'

/** One folder below certs.d, its files by name; bytes of those that could be read. */
export type HostDirectory = {
  readonly name: string
  readonly files: ReadonlyMap<string, Buffer | undefined>
}

export type TreeFinding = {
  readonly severity: 'error' | 'warning'
  /** Absolute on the node. */
  readonly path: string
  readonly message: string
  readonly remedy: string
}

/**
 * The names under which containerd looks for `host`, in its order: the first folder that exists wins, also when it
 * holds nothing.
 */
export function directoryNames(host: string): readonly string[] {
  const colon = host.lastIndexOf(':')
  const names = colon < 0 ? [host] : [`${host.slice(0, colon)}_${host.slice(colon + 1)}_`, host]
  return [...names, '_default']
}

export type HostChoice =
  | { readonly kind: 'none' }
  | { readonly kind: 'hosts-file'; readonly directory: string; readonly file: HostsFile }
  /** Docker's style: every `*.crt` is a CA. Also when hosts.toml is broken, which containerd only logs. */
  | {
      readonly kind: 'certificates'
      readonly directory: string
      readonly names: readonly string[]
      readonly broken?: string
    }
  | { readonly kind: 'empty'; readonly directory: string; readonly broken?: string }

/** What a pull from `host` uses. */
export function chooseHost(
  host: string,
  directories: readonly HostDirectory[],
  version?: ContainerdVersion,
): HostChoice {
  for (const name of directoryNames(host)) {
    const directory = directories.find((one) => one.name === name)
    if (directory === undefined) continue
    const parsed = hostsFileOf(directory, version)
    if (parsed?.ok === true) return { kind: 'hosts-file', directory: name, file: parsed.file }
    const names = [...directory.files.keys()].filter((file) => file.endsWith('.crt'))
    const broken = parsed?.ok === false ? { broken: parsed.reason } : {}
    return names.length > 0
      ? { kind: 'certificates', directory: name, names, ...broken }
      : { kind: 'empty', directory: name, ...broken }
  }
  return { kind: 'none' }
}

function hostsFileOf({ name, files }: HostDirectory, version?: ContainerdVersion): ParsedHostsFile | undefined {
  const bytes = files.get('hosts.toml')
  return bytes === undefined || bytes.length === 0
    ? undefined
    : parseHostsFile(bytes.toString('utf8'), { path: `${name}/hosts.toml`, version })
}

const MISSPELT: ReadonlySet<string> = new Set([
  'host.toml',
  'hosts.tml',
  'hosts.yaml',
  'hosts.yml',
  'host.yaml',
  'hosts.conf',
])
const BOM = Buffer.from([0xef, 0xbb, 0xbf])

/** Everything in the tree that does not do what its author meant; `version`: of the containerd that reads it. */
export function checkTree(
  folder: string,
  directories: readonly HostDirectory[],
  version?: ContainerdVersion,
): readonly TreeFinding[] {
  return [
    ...directories.flatMap((directory) => checkDirectory(folder, directory, version)),
    ...checkSpellings(folder, directories),
  ]
}

function checkDirectory(
  folder: string,
  directory: HostDirectory,
  version: ContainerdVersion | undefined,
): readonly TreeFinding[] {
  const { name, files } = directory
  const path = `${folder}/${name}`
  const findings: TreeFinding[] = []
  const add = (severity: TreeFinding['severity'], file: string, message: string, remedy: string) =>
    findings.push({ severity, path: file, message, remedy })
  if (files.size === 0)
    add(
      'warning',
      path,
      'the folder is empty: it does nothing, and it hides _default from this host',
      'Remove the folder or put a hosts.toml into it.',
    )
  for (const file of files.keys())
    if (MISSPELT.has(file))
      add('error', `${path}/${file}`, 'containerd reads hosts.toml only', `Rename it to ${path}/hosts.toml.`)
  const bytes = files.get('hosts.toml')
  if (bytes?.subarray(0, 3).equals(BOM) === true)
    add(
      'error',
      `${path}/hosts.toml`,
      'the file begins with a byte order mark, which containerd 2.x does not read',
      'Save it as UTF-8 without BOM.',
    )
  const parsed = hostsFileOf(directory, version)
  if (parsed?.ok === false)
    add(
      'error',
      `${path}/hosts.toml${parsed.line === undefined ? '' : `:${parsed.line}`}`,
      `containerd ignores the file: ${parsed.reason}`,
      'Correct the file; a pull uses the default host meanwhile.',
    )
  if (parsed === undefined && files.has('ca.pem') && !hasCrt(files))
    add(
      'error',
      `${path}/ca.pem`,
      'without a hosts.toml containerd reads *.crt only',
      `Rename it to ${path}/ca.crt, or name it in a hosts.toml.`,
    )
  if (parsed?.ok === true) {
    for (const ca of caFiles(parsed.file)) {
      const local = ca.startsWith('/') ? undefined : ca.replace(/^\.\//, '')
      if (local !== undefined && !local.includes('/') && !files.has(local))
        add(
          'error',
          `${path}/${local}`,
          'hosts.toml names this CA file, which does not exist: every pull from the host fails',
          'Put the CA there, or remove it from hosts.toml.',
        )
    }
    if (hasCrt(files) && caFiles(parsed.file).length === 0)
      add(
        'warning',
        path,
        'the *.crt files are not used: hosts.toml exists and names no ca',
        'Add `ca = "…"` to hosts.toml.',
      )
    if (!parsed.file.hasHostTable && parsed.file.top.ca.length > 0)
      add(
        'warning',
        `${path}/hosts.toml`,
        'containerd before 1.7.32 rejects a file without a [host] table',
        'Add an empty `[host]` line at the end.',
      )
  }
  return findings
}

function hasCrt(files: HostDirectory['files']): boolean {
  return [...files.keys()].some((name) => name.endsWith('.crt'))
}

function caFiles({ top, hosts }: HostsFile): readonly string[] {
  return [...new Set([...top.ca, ...hosts.flatMap(({ ca }) => ca)])]
}

function checkSpellings(folder: string, directories: readonly HostDirectory[]): readonly TreeFinding[] {
  const names = new Set(directories.map(({ name }) => name))
  return [...names].flatMap((name): TreeFinding[] => {
    const match = /^(.+):(\d+)$/.exec(name)
    const other = match === null ? undefined : `${match[1]}_${match[2]}_`
    if (other === undefined || !names.has(other)) return []
    const message = `containerd uses ${other} and never looks into this folder`
    return [{ severity: 'error', path: `${folder}/${name}`, message, remedy: 'Keep one of the two spellings.' }]
  })
}
