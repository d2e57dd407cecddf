// Finds out what this node's containerd is: socket, version, process, unit, config file. Reads only.
// The running daemon is the truth (design: what decides the layout); files only say what it will load.
// This room: looking at the node: containerd, the system store, every target.
// Begin here; then targets.ts (the targets).
// May touch: nothing is changed; reads go through ports.

import { posix } from 'node:path'
import { isCriPlugin, readContainerdConfig } from '../../containerd/config/read.ts'
import { crictlEndpoint, LAYOUTS, layoutsOfSocket, type NodeLayout } from '../../containerd/layouts.ts'
import { AgentError, asAgentError } from '../../model/errors.ts'
import { type ContainerdFacts, NO_RUNTIME, type ObservedContainerd } from '../../model/observed-state.ts'
import type {
  CriClient,
  FileState,
  NodeFiles,
  ProcessInfo,
  RehearsalRunner,
  Systemd,
  UnitFacts,
} from '../../model/ports.ts'
import type { ObservePorts } from '../../model/run-ports.ts'
import { readSettledText } from '../../targets/files/observe.ts'
import { ownBinary, USUAL_BINARIES, usualBinary } from './binary.ts'
import { findCrio, isCrio, observeCrio } from './crio.ts'
import { readImports } from './imports.ts'
import { sandboxImageOf } from './sandbox-image.ts'
import { systemRootsFacts } from './system-roots.ts'

const CALL_MS = 5_000

/** A ready runtime comes with an open CRI client, which the caller closes. */
export type Observation =
  | { readonly state: 'ready'; readonly facts: ContainerdFacts; readonly cri: CriClient }
  | Extract<ObservedContainerd, { state: 'down' }>

export async function observeContainerd(
  options: { readonly address: string | undefined; readonly unit: string },
  ports: ObservePorts,
): Promise<Observation> {
  const found = await findSocket(options.address, ports.files)
  const seen: Observation =
    found instanceof AgentError
      ? { state: 'down', socket: undefined, error: found }
      : await observeAt(found, options.unit, ports)
  if (seen.state === 'ready' || options.address !== undefined || seen.runtime !== undefined) return seen
  return (await crioInstead(seen.error, ports)) ?? seen
}

/** A node of CRI-O may have no containerd, or Docker's, which runs without its CRI plugin. */
async function crioInstead({ code }: AgentError, ports: ObservePorts): Promise<Observation | undefined> {
  if (code !== 'CONTAINERD_NOT_FOUND' && code !== 'CRI_NOT_LOADED') return undefined
  const socket = await findCrio(ports.files)
  return socket === undefined ? undefined : await observeAt(socket, 'auto', ports)
}

async function observeAt(socket: string, unitSetting: string, ports: ObservePorts): Promise<Observation> {
  const cri = ports.connectCri(socket)
  const candidates = layoutsOfSocket(socket)
  try {
    // systemd and /proc are asked while containerd answers.
    const daemon = findDaemon(socket, unitSetting, candidates, ports)
    // Its failure is reported below, unless another one comes first.
    daemon.catch(() => undefined)
    const { runtimeName, runtimeVersion } = await cri.version({ timeoutMs: CALL_MS })
    if (runtimeName !== 'containerd')
      return await observeOther(runtimeName, { socket, version: runtimeVersion }, cri, ports)
    const [status, { process, unit }] = await Promise.all([cri.status({ timeoutMs: CALL_MS }), daemon])
    const layout = chooseLayout(await presentOf(candidates, ports.files), unit?.name ?? process?.unit)
    const configFile = configFileOf(process, unit, layout)
    const config = await readConfig(configFile, ports.files)
    const startedAt = earliest(process?.startedAt, unit?.startedAt)
    const environment = process?.environment ?? unit?.environment ?? {}
    const systemRoots = await systemRootsFacts(ports.files, { environment })
    const imports = await readImports(config, { configFile, layout, version: runtimeVersion }, ports.files)
    const binary = await ownBinary(layout, ports.files)
    const facts: ContainerdFacts = {
      socket,
      version: runtimeVersion,
      status,
      process,
      unit,
      missingSandboxImage: undefined,
      configFile,
      config,
      ...imports,
      ...(binary === undefined ? {} : { ownBinary: binary }),
      ...(startedAt === undefined ? {} : { startedAt }),
      ...(systemRoots === undefined ? {} : { systemRoots }),
      layout: layout.name,
      defaultCertsDirectory: layout.certsDirectory,
      isConfigGenerated: layout.isConfigGenerated,
    }
    const missing = await missingSandboxImage(facts, cri)
    return { state: 'ready', facts: { ...facts, missingSandboxImage: missing }, cri }
  } catch (thrown) {
    cri.close()
    return { state: 'down', socket, error: await withoutCri(asAgentError(thrown), socket, ports.files) }
  }
}

async function observeOther(
  name: string,
  { socket, version }: { readonly socket: string; readonly version: string },
  cri: CriClient,
  ports: ObservePorts,
): Promise<Observation> {
  const error = new AgentError('NOT_CONTAINERD', `the runtime at ${socket} is ${name} ${version}, not containerd`)
  try {
    const runtime = isCrio(name) ? { runtime: await observeCrio({ socket, version }, cri, ports) } : {}
    return { state: 'down', socket, error, ...runtime }
  } finally {
    cri.close()
  }
}

async function findDaemon(
  socket: string,
  setting: string,
  candidates: readonly NodeLayout[],
  { processes, systemd }: ObservePorts,
): Promise<{ readonly process: ProcessInfo | undefined; readonly unit: UnitFacts | undefined }> {
  const process = onlyOne(await processes.listeningOn(socket))
  return { process, unit: await findUnit(setting, process, candidates, systemd) }
}

/** containerd logs nothing of a plugin that its file switches off: the file says it. */
async function withoutCri(error: AgentError, socket: string, files: NodeFiles): Promise<AgentError> {
  if (error.code !== 'CRI_NOT_LOADED') return error
  for (const path of new Set([...layoutsOfSocket(socket), ...LAYOUTS].map(({ configFile }) => configFile))) {
    const state = await files.readFollowing(path)
    const disabling = state.kind === 'file' ? disablingCri(state.bytes, path) : []
    if (disabling.length === 0) continue
    const text = `containerd at ${socket} runs without its CRI plugin, because ${path} switches it off: disabled_plugins names ${disabling.join(', ')}`
    return new AgentError('CRI_NOT_LOADED', text)
  }
  return error
}

function disablingCri(bytes: Buffer, path: string): readonly string[] {
  try {
    return readContainerdConfig(bytes, { path }).disabledPlugins.filter(isCriPlugin)
  } catch {
    return []
  }
}

/** From 2.0 on CRI Status does not tell the image: then the files do. */
async function missingSandboxImage(facts: ContainerdFacts, cri: CriClient): Promise<string | undefined> {
  const image = facts.status.sandboxImage ?? sandboxImageOf(facts)
  if (image === undefined) return undefined
  return (await cri.imageExists(image, { timeoutMs: CALL_MS })) ? undefined : image
}

/** What can be known of containerd without its socket: its binary and its configuration file. Throws AgentError. */
export async function observeWithoutRuntime(
  unit: string,
  ports: ObservePorts & { readonly runner: RehearsalRunner },
): Promise<ContainerdFacts> {
  const layout = await layoutByFolder(ports.files)
  const found = await findUnit(unit, undefined, [layout], ports.systemd)
  const own = await ownBinary(layout, ports.files)
  const binary = own ?? found?.execStart[0] ?? (await usualBinary(ports.files))
  if (binary === undefined)
    throw new AgentError(
      'CONTAINERD_NOT_FOUND',
      `no containerd binary: looked at ${USUAL_BINARIES.join(', ')} of the node`,
    )
  const configFile = configFileOf(undefined, found, layout)
  const config = await readConfig(configFile, ports.files)
  const version = await ports.runner.version(ports.files.hostPath(binary))
  return {
    socket: NO_RUNTIME,
    version,
    status: { runtimeReady: false, networkReady: false },
    process: undefined,
    unit: found,
    missingSandboxImage: undefined,
    configFile,
    config,
    ...(await readImports(config, { configFile, layout, version }, ports.files)),
    ...(own === undefined ? {} : { ownBinary: own }),
    layout: layout.name,
    defaultCertsDirectory: layout.certsDirectory,
    isConfigGenerated: layout.isConfigGenerated,
  }
}

async function layoutByFolder(files: NodeFiles): Promise<NodeLayout> {
  for (const layout of LAYOUTS)
    if ((await files.readFollowing(posix.dirname(layout.configFile))).kind === 'folder') return layout
  return chooseLayout([], undefined)
}

/**
 * From the option, /etc/crictl.yaml, then the well-known places. Two of them at once could be two runtimes: the agent
 * does not guess.
 */
export async function findSocket(address: string | undefined, files: NodeFiles): Promise<string | AgentError> {
  if (address !== undefined) return address.replace(/^unix:\/\//, '')
  const crictl = await files.readFollowing('/etc/crictl.yaml')
  const named = crictl.kind === 'file' ? crictlEndpoint(crictl.bytes.toString('utf8')) : undefined
  if (named !== undefined && (await exists(named, files))) return named
  // /var/run is a link to /run nearly everywhere: the same socket under two names.
  const places = [...new Set(LAYOUTS.flatMap((layout) => layout.sockets))]
  const present: string[] = []
  for (const socket of places)
    if (!present.includes(socket.replace(/^\/var\/run\//, '/run/')) && (await exists(socket, files)))
      present.push(socket)
  const [only, ...others] = present
  if (only === undefined)
    return new AgentError(
      'CONTAINERD_NOT_FOUND',
      `no containerd socket: looked at /etc/crictl.yaml, ${places.join(', ')}`,
    )
  if (others.length === 0) return only
  return new AgentError('CONTAINERD_AMBIGUOUS', `there are several containerd sockets: ${present.join(', ')}`)
}

async function exists(path: string, files: NodeFiles): Promise<boolean> {
  return (await files.readFollowing(path)).kind !== 'absent'
}

function onlyOne(owners: readonly ProcessInfo[]): ProcessInfo | undefined {
  return owners.length === 1 ? owners[0] : undefined
}

/** In a Pod without D-Bus no unit can be seen: then the folder of its configuration tells a distribution. */
async function presentOf(candidates: readonly NodeLayout[], files: NodeFiles): Promise<readonly NodeLayout[]> {
  const present: NodeLayout[] = []
  for (const layout of candidates)
    if ((await files.readFollowing(posix.dirname(layout.configFile))).kind === 'folder') present.push(layout)
  return [...present, ...candidates]
}

/**
 * k3s and RKE2 share a socket: the unit tells them apart. A socket of no layout is a plain containerd somewhere else.
 */
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
  const names =
    setting !== 'auto'
      ? [setting]
      : process?.unit !== undefined
        ? [process.unit]
        : layouts.flatMap(({ units }) => units)
  if (names.length === 0 || !(await systemd.isAvailable())) return undefined
  for (const name of names) {
    const unit = await systemd.unit(name)
    if (unit?.loadState === 'loaded' && unit.mainPid > 0) return unit
  }
  return undefined
}

/** As containerd would load it, once no other program is in the middle of writing it. */
async function readConfig(path: string, files: NodeFiles): Promise<FileState> {
  const state = await readSettledText(path, files)
  return state.kind === 'link' ? await files.readFollowing(path) : state
}

/**
 * `-c FILE`, `--config FILE` or `--config=FILE` of the daemon, else the layout's place. The units of k3s, RKE2 and k0s
 * name a configuration of their own by the same flag.
 */
function configFileOf(process: ProcessInfo | undefined, unit: UnitFacts | undefined, layout: NodeLayout): string {
  const argv = process?.argv ?? (layout.binaries === undefined ? unit?.execStart : undefined) ?? []
  const at = argv.findIndex((word) => word === '-c' || word === '--config' || word === '-config')
  const named = at >= 0 ? argv[at + 1] : argv.find((word) => /^--?config=/.test(word))?.replace(/^--?config=/, '')
  return named?.startsWith('/') ? posix.normalize(named) : layout.configFile
}

/**
 * systemd noted the wall time of the start, and the process's is reckoned back from now: where the clock was set since,
 * they differ. The earlier one errs towards "has not loaded it", which costs a proof.
 */
function earliest(...times: readonly (number | undefined)[]): number | undefined {
  const known = times.filter((time) => time !== undefined)
  return known.length === 0 ? undefined : Math.min(...known)
}
