// Finds out what this node's containerd is: socket, version, process, unit, config file. Reads only.
// The running daemon is the truth (design: what decides the layout); files only say what it will load.
import { posix } from 'node:path'
import { readContainerdConfig } from '../containerd/config-file.ts'
import { crictlEndpoint, LAYOUTS, layoutsOfSocket, type NodeLayout } from '../containerd/layouts.ts'
import { AgentError, asAgentError } from '../model/errors.ts'
import type { ContainerdFacts, ObservedContainerd } from '../model/observed-state.ts'
import type { CriClient, CriConnector, NodeFiles, Processes, ProcessInfo, Systemd, UnitFacts } from '../model/ports.ts'

const CALL_MS = 5_000

export type ObservePorts = {
  readonly files: NodeFiles
  readonly processes: Processes
  readonly systemd: Systemd
  readonly connectCri: CriConnector
}

/** A ready runtime comes with an open CRI client, which the caller closes. */
export type Observation =
  | { readonly state: 'ready'; readonly facts: ContainerdFacts; readonly cri: CriClient }
  | Extract<ObservedContainerd, { state: 'down' }>

export async function observeContainerd(
  options: { readonly address: string | undefined; readonly unit: string },
  ports: ObservePorts,
): Promise<Observation> {
  const socket = await findSocket(options.address, ports.files)
  if (socket === undefined) {
    const looked = [...new Set(LAYOUTS.flatMap((layout) => layout.sockets))].join(', ')
    const error = new AgentError('CONTAINERD_NOT_FOUND', `no containerd socket: looked at /etc/crictl.yaml, ${looked}`)
    return { state: 'down', socket, error }
  }
  const cri = ports.connectCri(socket)
  try {
    const { runtimeVersion } = await cri.version({ timeoutMs: CALL_MS })
    const status = await cri.status({ timeoutMs: CALL_MS })
    const process = onlyOne(await ports.processes.listeningOn(socket))
    const candidates = layoutsOfSocket(socket)
    const unit = await findUnit(options.unit, process, candidates, ports.systemd)
    const layout = chooseLayout(candidates, unit?.name ?? process?.unit)
    const configFile = configFileOf(process, unit, layout)
    const config = await ports.files.readFollowing(configFile)
    const imports = config.kind === 'file' ? await readImports(config.bytes, configFile, ports.files) : []
    const facts: ContainerdFacts = {
      socket,
      version: runtimeVersion,
      status,
      process,
      unit,
      configFile,
      config,
      imports,
      layout: layout.name,
      defaultCertsDirectory: layout.certsDirectory,
      isConfigGenerated: layout.isConfigGenerated,
    }
    return { state: 'ready', facts, cri }
  } catch (thrown) {
    cri.close()
    return { state: 'down', socket, error: asAgentError(thrown) }
  }
}

async function findSocket(address: string | undefined, files: NodeFiles): Promise<string | undefined> {
  if (address !== undefined) return address.replace(/^unix:\/\//, '')
  const crictl = await files.readFollowing('/etc/crictl.yaml')
  const named = crictl.kind === 'file' ? crictlEndpoint(crictl.bytes.toString('utf8')) : undefined
  if (named !== undefined && (await exists(named, files))) return named
  for (const layout of LAYOUTS)
    for (const socket of layout.sockets) if (await exists(socket, files)) return socket
  return undefined
}

async function exists(path: string, files: NodeFiles): Promise<boolean> {
  return (await files.readFollowing(path)).kind !== 'absent'
}

function onlyOne(owners: readonly ProcessInfo[]): ProcessInfo | undefined {
  return owners.length === 1 ? owners[0] : undefined
}

/** k3s and RKE2 share a socket: the unit tells them apart. A socket of no layout is a plain containerd somewhere else. */
function chooseLayout(candidates: readonly NodeLayout[], unit: string | undefined): NodeLayout {
  const byUnit = candidates.find(({ units }) => unit !== undefined && units.includes(unit))
  const layout = byUnit ?? candidates[0] ?? LAYOUTS[0]
  if (layout === undefined) throw new AgentError('INTERNAL', 'the table of layouts is empty')
  return layout
}

async function findUnit(
  setting: string,
  process: ProcessInfo | undefined,
  layouts: readonly NodeLayout[],
  systemd: Systemd,
): Promise<UnitFacts | undefined> {
  if (process !== undefined && process.unit === undefined && setting === 'auto') return undefined
  const names = setting !== 'auto' ? [setting] : process?.unit !== undefined ? [process.unit] : layouts.flatMap(({ units }) => units)
  if (names.length === 0 || !(await systemd.isAvailable())) return undefined
  for (const name of names) {
    const unit = await systemd.unit(name)
    if (unit?.loadState === 'loaded' && unit.mainPid > 0) return unit
  }
  return undefined
}

/** `-c FILE`, `--config FILE` or `--config=FILE` of the daemon, else the layout's place. */
function configFileOf(
  process: ProcessInfo | undefined,
  unit: UnitFacts | undefined,
  layout: NodeLayout,
): string {
  const argv = process?.argv ?? unit?.execStart ?? []
  const at = argv.findIndex((word) => word === '-c' || word === '--config' || word === '-config')
  const named = at >= 0 ? argv[at + 1] : argv.find((word) => /^--?config=/.test(word))?.replace(/^--?config=/, '')
  return named?.startsWith('/') ? posix.normalize(named) : layout.configFile
}

/** In the order in which containerd merges them; a pattern may have `*` in its last part only. */
async function readImports(bytes: Buffer, configFile: string, files: NodeFiles): Promise<ContainerdFacts['imports']> {
  const found: { path: string; bytes: Buffer }[] = []
  for (const pattern of patternsOf(bytes, configFile)) {
    const folder = posix.dirname(pattern)
    const last = posix.basename(pattern)
    const isGlob = /[*?[]/.test(last)
    const matcher = new RegExp(`^${last.replaceAll(/[.+^${}()|\\]/g, '\\$&').replaceAll('*', '[^/]*').replaceAll('?', '[^/]')}$`)
    const names = isGlob ? (await files.list(folder)).filter((name) => matcher.test(name)) : [last]
    for (const name of names) {
      const state = await files.readFollowing(`${folder}/${name}`)
      if (state.kind === 'file') found.push({ path: `${folder}/${name}`, bytes: state.bytes })
    }
  }
  return found
}

function patternsOf(bytes: Buffer, path: string): readonly string[] {
  try {
    return readContainerdConfig(bytes, { path }).imports
  } catch {
    // A file that does not parse is reported by the plan, with its position.
    return []
  }
}
