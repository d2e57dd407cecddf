// What on the node is evidently the agent's although nothing remembers it, and the node as it would be without. Reads
// only.
import { posix } from 'node:path'
import { readContainerdConfig } from '../../containerd/config/read.ts'
import { CONFIG_SCHEMAS, isSchemaVersion } from '../../containerd/config/schema-version.ts'
import { isManaged } from '../../containerd/hosts/hosts-toml.ts'
import type { DesiredState } from '../../model/desired-state.ts'
import type { ContainerdFacts } from '../../model/observed-state.ts'
import type { FileState, NodeFiles } from '../../model/ports.ts'
import { CA_FILE, CLIENT_CERTIFICATE, CLIENT_KEY } from '../../targets/containerd-hosts/files.ts'
import { HOSTS_FILE } from '../../targets/containerd-hosts/names.ts'
import { linesOf } from '../../text/line-diff.ts'
import { removeKey } from '../../text/toml-edit.ts'

const HOST_FILES = [HOSTS_FILE, CA_FILE, CLIENT_CERTIFICATE, CLIENT_KEY]

export type Evidence = {
  /** Where containerd reads host directories. */
  readonly certsDirectory: string
  /** Host directories whose hosts.toml carries the agent's mark, with the files in them that it writes. */
  readonly folders: ReadonlyMap<string, ReadonlyMap<string, FileState>>
  /** Certificates that are declared, or lie beside such a mark. */
  readonly certificates: ReadonlySet<string>
}

export async function evidenceOn(desired: DesiredState, facts: ContainerdFacts, files: NodeFiles): Promise<Evidence> {
  const certsDirectory = configPathOf(facts) ?? facts.defaultCertsDirectory
  const folders = new Map<string, ReadonlyMap<string, FileState>>()
  for (const name of await files.list(certsDirectory)) {
    const folder = `${certsDirectory}/${name}`
    const hosts = await files.read(`${folder}/${HOSTS_FILE}`)
    if (hosts.kind !== 'file' || !isManaged(hosts.bytes.toString('utf8'))) continue
    const states = await Promise.all(
      HOST_FILES.map(async (file) => [file, await files.read(`${folder}/${file}`)] as const),
    )
    folders.set(folder, new Map(states.filter(([, state]) => state.kind === 'file')))
  }
  const declared = desired.anchors.flatMap(({ certificates }) => certificates.flatMap(({ pem }) => certificatesIn(pem)))
  const marked = [...folders.values()].flatMap((names) => certificatesOf(names.get(CA_FILE)))
  return { certsDirectory, folders, certificates: new Set([...declared, ...marked]) }
}

function configPathOf({ config, configFile }: ContainerdFacts): string | undefined {
  if (config.kind !== 'file') return undefined
  try {
    return readContainerdConfig(config.bytes, { path: configFile }).configPath
  } catch {
    return undefined
  }
}

export function certificatesOf(state: FileState | undefined): readonly string[] {
  return state?.kind === 'file' ? certificatesIn(state.bytes.toString('latin1')) : []
}

function certificatesIn(text: string): readonly string[] {
  return linesOf(text)
    .filter((line) => line.startsWith('-----BEGIN CERTIFICATE-----'))
    .map(bodyOf)
}

function bodyOf(block: string): string {
  return block.replaceAll(/-----[^-]*-----|\s/g, '')
}

/**
 * The node's files as if the agent had never been there: what it would write on such a node is compared with what there
 * is.
 */
export function withoutOurs(files: NodeFiles, evidence: Evidence, facts: ContainerdFacts): NodeFiles {
  const masked = (path: string, state: FileState) => maskedState(path, state, evidence, facts)
  const read: NodeFiles['read'] = async (path) => {
    const state = await files.read(path)
    if (state.kind === 'folder') return (await isEmptied(path)) ? ABSENT : state
    if (state.kind !== 'link') return masked(path, state)
    // A link to what is the agent's is the agent's.
    const target = await files.readFollowing(path)
    return target.kind === 'file' && (await masked(path, target)).kind === 'absent' ? ABSENT : state
  }
  /** Host directories, and the folder of them: everything in it is the agent's. */
  const isEmptied = async (path: string) => {
    const isOfHosts = path === evidence.certsDirectory || posix.basename(posix.dirname(path)) === 'certs.d'
    return isOfHosts && (await files.list(path)).length > 0 && (await list(path)).length === 0
  }
  const list: NodeFiles['list'] = async (folder) => {
    const names = await files.list(folder)
    const isThere = await Promise.all(names.map(async (name) => (await read(`${folder}/${name}`)).kind !== 'absent'))
    return names.filter((_, index) => isThere[index])
  }
  return {
    ...files,
    read,
    list,
    readSettled: async (path, isWhole) => masked(path, await files.readSettled(path, isWhole)),
    readFollowing: async (path) => masked(path, await files.readFollowing(path)),
  }
}

const ABSENT = { kind: 'absent' } as const

async function maskedState(
  path: string,
  state: FileState,
  { folders, certificates, certsDirectory }: Evidence,
  facts: ContainerdFacts,
): Promise<FileState> {
  if (state.kind !== 'file') return state
  if (path === facts.configFile) return { ...state, bytes: await withoutConfigPath(state.bytes, facts, certsDirectory) }
  if (folders.get(posix.dirname(path))?.has(posix.basename(path))) return ABSENT
  if (posix.dirname(posix.dirname(path)) === certsDirectory) return state
  const all = certificatesOf(state)
  const others = all.filter((one) => !certificates.has(one))
  if (all.length === 0 || others.length === all.length) return state
  if (others.length === 0) return ABSENT
  const isOurs = (line: string) => line.startsWith('-----BEGIN ') && certificates.has(bodyOf(line))
  const kept = linesOf(state.bytes.toString('latin1')).filter((line) => !isOurs(line))
  return { ...state, bytes: Buffer.from(kept.join(''), 'latin1') }
}

async function withoutConfigPath(bytes: Buffer, facts: ContainerdFacts, certsDirectory: string): Promise<Buffer> {
  try {
    const { configPath, effectiveVersion, text } = readContainerdConfig(bytes, { path: facts.configFile })
    if (configPath !== certsDirectory || !isSchemaVersion(effectiveVersion)) return bytes
    const key = [...CONFIG_SCHEMAS[effectiveVersion].registry, 'config_path']
    return Buffer.from(await removeKey(text, key, { path: facts.configFile }))
  } catch {
    return bytes
  }
}
