// What containerd reads on this node: config.toml, the host directories, and where k3s or RKE2 write both from.
import { posix } from 'node:path'
import { readContainerdConfig } from '../../containerd/config/read.ts'
import { AgentError, asAgentError } from '../../model/errors.ts'
import type { ContainerdFacts } from '../../model/observed-state.ts'
import type { ObserveInput, TargetPorts } from '../../model/target.ts'
import { type ObservedConfig, observeConfig } from '../containerd-config/observe.ts'
import { type ObservedHosts, observeHosts } from '../containerd-hosts/observe.ts'
import { type ObservedK3s, observeK3s } from '../k3s/observe.ts'

export type ObservedContainerd = {
  readonly facts: ContainerdFacts
  readonly config: ObservedConfig
  readonly k3s: ObservedK3s | undefined
  /** By folder: every one that config_path names or would be set to, or why it cannot be read. */
  readonly hosts: ReadonlyMap<string, ObservedHosts | AgentError>
}

export async function observeContainerdFiles(input: ObserveInput, ports: TargetPorts): Promise<ObservedContainerd> {
  const { facts } = input
  const k3s = await observeK3s(input, facts, ports.files)
  const config = await observeConfig(facts, input, ports)
  const hosts = new Map<string, ObservedHosts | AgentError>()
  for (const folder of foldersOfHosts(facts))
    hosts.set(folder, await observeHosts(input, folder, facts.version, ports.files).catch(asAgentError))
  return { facts, config, k3s, hosts }
}

/** The folder that the plan chooses is one of them. */
function foldersOfHosts(facts: ContainerdFacts): ReadonlySet<string> {
  const { config, configFile, imports, defaultCertsDirectory, status } = facts
  const main = config.kind === 'file' ? [{ path: configFile, bytes: config.bytes }] : []
  const named = [...main, ...imports].flatMap(({ path, bytes }) => foldersNamedIn(bytes, path))
  return new Set([defaultCertsDirectory, ...named, ...absolute((status.loadedConfigPath ?? '').split(':'))])
}

function foldersNamedIn(bytes: Buffer, path: string): readonly string[] {
  try {
    const { registries } = readContainerdConfig(bytes, { path })
    const folders = Object.values(registries).flatMap(({ configPath }) => (configPath ?? '').split(':'))
    return absolute(folders)
  } catch {
    // The plan reports the file with its position.
    return []
  }
}

function absolute(folders: readonly string[]): readonly string[] {
  return folders.filter((folder) => posix.isAbsolute(folder)).map((folder) => posix.resolve(folder))
}

/** Throws AgentError NODE_FILE_UNREADABLE where the folder cannot be listed. */
export function hostsIn(folder: string, { hosts }: ObservedContainerd): ObservedHosts {
  const found = hosts.get(folder)
  if (found instanceof AgentError) throw found
  if (found === undefined) throw new Error(`${folder} is planned for and was not observed`)
  return found
}
