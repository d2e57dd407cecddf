// hosts.toml of one registry host: what the agent writes, and the facts of what others wrote. Shape A (server and ca at
// the top, an empty [host] table): without the [host] line containerd before 1.7.32 and 1.6 reject the file without a
// word in the pull error. https://github.com/containerd/containerd/blob/main/docs/hosts.md
// This room: host directories and their hosts.toml, as containerd reads them and as others write them.
// Begin here; then lookup.ts (which of them a pull uses), merge-foreign.ts (our CA in a file of someone else).
// May touch: nothing.
import { AgentError, asAgentError } from '../../model/errors.ts'
import { isTable, ownToml, parseToml, renderString, type TomlItem, type TomlTable } from '../../text/toml.ts'
import { type ContainerdVersion, isAtLeast } from '../config/schema-version.ts'
import { defaultEndpoint, renderEndpoint } from './endpoint.ts'
import { isDuration } from './extra-keys.ts'

const MARK = '# Managed by registry-trust-agent'
export const MANAGED_HEADER = `${MARK}: changes to this file are undone. Declare the registry in trust.yaml instead.`

export type HostsFileContent = {
  /** `https://HOST[:PORT]`. */
  readonly server: string
  /** CA file, relative to the folder of hosts.toml. */
  readonly ca: string
  /**
   * B repeats the keys in a [host."…"] table: all that Spegel's rewrite of the folder keeps. A asks the server once on
   * a 404, B twice.
   */
  readonly shape?: 'A' | 'B'
}

export function renderHostsFile({ server, ca, shape = 'A' }: HostsFileContent): string {
  const top = [MANAGED_HEADER, `server = ${renderString(server)}`, `ca = ${renderString(ca)}`, '']
  const host = shape === 'A' ? ['[host]'] : [`[host.${renderString(server)}]`, `  ca = ${renderString(ca)}`]
  return ownToml([...top, ...host, ''].join('\n'))
}

/** One host that a pull asks, with what it needs. */
export type HostTable = {
  readonly url: string
  readonly ca: string | undefined
  readonly client: readonly [certFile: string, keyFile: string] | undefined
  readonly skipVerify: boolean
  readonly overridePath: boolean
}

export type MovedHosts = {
  /** The file that said the same so far. */
  readonly from: string
  readonly hosts: readonly HostTable[]
  /** Asked last; undefined in `_default`: the host of the reference. */
  readonly server: HostTable | undefined
}

/** A file that the agent makes once and then leaves to its user, hence without the mark. */
export function renderMovedHosts({ from, hosts, server }: MovedHosts): string {
  const origin = `# Moved here from ${from.replace(/[^\x20-\x7e]/g, '?')} by registry-trust-agent. This file is yours: edit it as you like.`
  const top = server === undefined ? [] : [`server = ${renderString(server.url)}`, ...tableLines(server, '')]
  const tables = hosts.flatMap((host) => [
    '',
    `[host.${renderString(host.url)}]`,
    '  capabilities = ["pull", "resolve"]',
    ...tableLines(host, '  '),
  ])
  return ownToml([origin, ...top, ...(hosts.length === 0 ? ['', '[host]'] : tables), ''].join('\n'))
}

function tableLines({ ca, client, skipVerify, overridePath }: HostTable, indent: string): readonly string[] {
  return [
    ...(ca === undefined ? [] : [`ca = ${renderString(ca)}`]),
    ...(client === undefined ? [] : [`client = [[${client.map(renderString).join(', ')}]]`]),
    ...(skipVerify ? ['skip_verify = true'] : []),
    ...(overridePath ? ['override_path = true'] : []),
  ].map((line) => indent + line)
}

/** The ownership mark; a later version may word the rest of the line differently. */
export function isManaged(text: string): boolean {
  const [first = ''] = text.split('\n', 1)
  return first.startsWith(MARK) && !/^[\w-]/.test(first.slice(MARK.length))
}

export type HostSettings = {
  readonly ca: readonly string[]
  readonly hasClientCertificate: boolean
  readonly skipVerify: boolean
  readonly overridePath: boolean
  /** Undefined: all. */
  readonly capabilities: readonly string[] | undefined
  /** Names alone: values may be credentials. */
  readonly headers: readonly string[]
}

export type HostsFile = {
  readonly server: string | undefined
  /** What stands at the top and so belongs to the server alone. */
  readonly top: HostSettings
  readonly hasHostTable: boolean
  /** In the order in which containerd tries them. */
  readonly hosts: readonly (HostSettings & { readonly url: string })[]
}

export type ParsedHostsFile =
  | { readonly ok: true; readonly file: HostsFile }
  /** containerd would ignore the file and say so in its log only. */
  | { readonly ok: false; readonly reason: string; readonly line?: number; readonly column?: number }

const CAPABILITIES: ReadonlySet<string> = new Set(['pull', 'resolve', 'push'])

export type HostsFileOptions = {
  readonly path?: string
  /** The containerd that reads the file; absent: what holds for each of 1.6, 1.7 and 2.1 but for the `[host]` line. */
  readonly version?: ContainerdVersion | undefined
}

/**
 * As containerd reads it (core/remotes/docker/config/hosts.go, parseHostsFile); compared with the real one of each
 * generation.
 */
export function parseHostsFile(text: string, { path = 'hosts.toml', version }: HostsFileOptions = {}): ParsedHostsFile {
  try {
    const skipsMark = version !== undefined && !isAtLeast(version, 2, 0)
    const table = parseToml(skipsMark ? text.replace(/^\ufeff/, '') : text, { path, code: 'HOSTS_FILE_FOREIGN' })
    if (table['host'] === undefined && needsHostTable(version)) {
      const reason = `${path}: has no [host] table, so containerd before 1.7.32 ignores the whole file`
      throw new AgentError('HOSTS_FILE_FOREIGN', reason)
    }
    const hosts = read(table, 'host', path, (item) => (isTable(item) ? item : undefined)) ?? {}
    return {
      ok: true,
      file: {
        server: readString(table, 'server', path),
        top: readSettings(table, path, version),
        hasHostTable: table['host'] !== undefined,
        hosts: Object.entries(hosts).map(([url, item]) => {
          if (!isTable(item)) throw mistake(path, `host."${url}"`)
          return { url, ...readSettings(item, `${path}: [host."${url}"]`, version) }
        }),
      },
    }
  } catch (thrown) {
    const { message, detail } = asAgentError(thrown)
    const { line, column } = detail
    const position = typeof line === 'number' && typeof column === 'number' ? { line, column } : {}
    return { ok: false, reason: message, ...position }
  }
}

function needsHostTable(version: ContainerdVersion | undefined): boolean {
  if (version === undefined || isAtLeast(version, 2, 0)) return false
  return !isAtLeast(version, 1, 7) || (version.minor === 7 && version.patch < 32)
}

function readSettings(table: TomlTable, where: string, version: ContainerdVersion | undefined): HostSettings {
  const capabilities = read(table, 'capabilities', where, (item) => (Array.isArray(item) ? stringsOf(item) : undefined))
  const unknown = capabilities?.find((capability) => !CAPABILITIES.has(capability))
  if (unknown !== undefined)
    throw new AgentError('HOSTS_FILE_FOREIGN', `${where}: unknown capability ${renderString(unknown)}`)
  const header = read(table, 'header', where, (item) => (isTable(item) ? item : undefined)) ?? {}
  for (const name of Object.keys(header)) readStrings(header, name, `${where}: header`)
  read(table, 'client', where, (item) => (isClient(item) ? true : undefined))
  // Of a key that it does not know containerd says nothing; this one is of 2.1.
  if (version === undefined || isAtLeast(version, 2, 1)) {
    read(table, 'dial_timeout', where, (item) => (isDuration(item) ? true : undefined))
  }
  return {
    ca: readStrings(table, 'ca', where) ?? [],
    hasClientCertificate: table['client'] !== undefined,
    skipVerify: readBoolean(table, 'skip_verify', where),
    overridePath: readBoolean(table, 'override_path', where),
    capabilities,
    headers: Object.keys(header),
  }
}

/** A file, or a list of files and of pairs of certificate and key. */
function isClient(item: TomlItem): boolean {
  const isPair = (one: TomlItem) =>
    Array.isArray(one) && one.length === 2 && one.every((part) => typeof part === 'string')
  if (typeof item === 'string') return true
  return Array.isArray(item) && item.every((one) => typeof one === 'string' || isPair(one))
}

function mistake(where: string, key: string): AgentError {
  return new AgentError(
    'HOSTS_FILE_FOREIGN',
    `${where}: ${key} has the wrong type, so containerd ignores the whole file`,
  )
}

/** Undefined where the key is absent; throws where `accept` gives nothing for what is there. */
function read<T>(
  table: TomlTable,
  key: string,
  where: string,
  accept: (item: TomlItem) => T | undefined,
): T | undefined {
  const item = table[key]
  if (item === undefined) return undefined
  const accepted = accept(item)
  if (accepted === undefined) throw mistake(where, key)
  return accepted
}

function readString(table: TomlTable, key: string, where: string): string | undefined {
  return read(table, key, where, (item) => (typeof item === 'string' ? item : undefined))
}

function readBoolean(table: TomlTable, key: string, where: string): boolean {
  return read(table, key, where, (item) => (typeof item === 'boolean' ? item : undefined)) ?? false
}

function readStrings(table: TomlTable, key: string, where: string): readonly string[] | undefined {
  return read(table, key, where, (item) => {
    if (typeof item === 'string') return [item]
    return Array.isArray(item) ? stringsOf(item) : undefined
  })
}

/** Undefined where one of them is not a string. */
function stringsOf(items: readonly TomlItem[]): readonly string[] | undefined {
  const strings = items.filter((item) => typeof item === 'string')
  return strings.length === items.length ? strings : undefined
}

/**
 * The folder of a registry host. containerd looks for `host_port_` before `host:port`, so an existing one wins; the
 * name must
 * match the image reference: `host:443` is not read for `host/…`, nor the reverse.
 */
export function hostDirectoryName(host: string, existingNames: ReadonlySet<string>): string {
  if (host === '*') return '_default'
  const underscored = host.replace(/:(\d+)$/, '_$1_')
  return existingNames.has(underscored) ? underscored : host
}

/** Where containerd goes when no `server` is set; only docker.io differs from its name. */
export function defaultServer(host: string): string {
  return renderEndpoint({ ...defaultEndpoint(host), scheme: 'https' })
}
