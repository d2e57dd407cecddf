// The part of a support bundle that is read from the node: config.toml, host directories, unit, mounts, the agent's own
// memory. Reads only; what cannot be read is named in its place.
import { readContainerdConfig } from '../../containerd/config/read.ts'
import { asAgentError } from '../../model/errors.ts'
import type { ContainerdFacts } from '../../model/observed-state.ts'
import type { FileState, NodeFiles } from '../../model/ports.ts'
import { decodeCertificates } from '../../pki/decode/decode.ts'
import { readCertsTree } from '../../targets/containerd-hosts/directories.ts'
import { decodeText, parseToml } from '../../text/toml.ts'

const AUDIT_LINES = 200
const LOG_LINES = 500
const LINE_CHARACTERS = 4_000
const POD_LOGS = '/var/log/pods'

/**
 * The values of a TOML file, or why it has none: never its text, which may hold anything, nor its hash, by which a
 * password could be guessed.
 */
function valuesOf(path: string, bytes: Buffer): object {
  try {
    const source = { path, code: 'CONTAINERD_CONFIG_UNREADABLE' } as const
    return { bytes: bytes.length, values: parseToml(decodeText(bytes, source), source) }
  } catch (thrown) {
    return { bytes: bytes.length, notShown: asAgentError(thrown).message }
  }
}

function fileOf(path: string, state: FileState): object {
  if (state.kind === 'file') return valuesOf(path, state.bytes)
  return state.kind === 'link' ? { link: state.to } : { ...state }
}

/** config.toml and what it imports, in the order in which containerd merges them. */
export function containerdFiles({ configFile, config, imports, unseenImport }: ContainerdFacts): readonly object[] {
  return [
    { path: configFile, ...fileOf(configFile, config) },
    ...imports.map(({ path, bytes }) => ({ path, ...valuesOf(path, bytes) })),
    ...(unseenImport === undefined ? [] : [{ notShown: unseenImport.message }]),
  ]
}

/** The folders that config_path names, else containerd's usual one. */
function hostFolders({ configFile, config, defaultCertsDirectory }: ContainerdFacts): readonly string[] {
  try {
    const found = config.kind === 'file' ? readContainerdConfig(config.bytes, { path: configFile }) : undefined
    const folders = found?.configPathDirectories ?? []
    return folders.length > 0 ? folders : [defaultCertsDirectory]
  } catch {
    return [defaultCertsDirectory]
  }
}

/** Every host directory: hosts.toml as values, certificates by their subject, anything else by its size. */
export async function hostDirectories(facts: ContainerdFacts, files: NodeFiles): Promise<readonly object[]> {
  const folders: object[] = []
  for (const folder of hostFolders(facts)) {
    const tree = await readCertsTree(folder, files)
    const hosts = tree.map(({ name, files: found }) => {
      const inside = [...found].map(([file, bytes]) => ({ file, ...hostFile(`${folder}/${name}/${file}`, bytes) }))
      return { host: name, files: inside }
    })
    folders.push({ folder, hosts })
  }
  return folders
}

function hostFile(path: string, bytes: Buffer | undefined): object {
  if (bytes === undefined) return { notShown: 'not a readable file' }
  if (path.endsWith('.toml')) return valuesOf(path, bytes)
  if (/\.key$/.test(path)) return { bytes: bytes.length, notShown: 'a private key' }
  const { certificates, problems } = decodeCertificates(bytes)
  return {
    bytes: bytes.length,
    certificates: certificates.map(({ subject, issuer, fingerprint, notBefore, notAfter }) => {
      return { subject, issuer, fingerprint, notBefore, notAfter }
    }),
    problems: problems.map(({ message }) => message),
  }
}

/** What is known of the daemon, without the files and without any argument that may be a secret. */
export function daemonFacts(facts: ContainerdFacts): object {
  const { config, imports, ...more } = facts
  return { ...more, imports: imports.map(({ path }) => path), config: config.kind }
}

/** The newest lines of audit.jsonl, one value each. */
export async function auditTail(stateFolder: string, files: NodeFiles): Promise<readonly unknown[] | undefined> {
  const state = await files.read(`${stateFolder}/audit.jsonl`)
  if (state.kind !== 'file') return undefined
  return lastLines(state.bytes.toString('utf8'), AUDIT_LINES).map((line) => {
    try {
      return JSON.parse(line) as unknown
    } catch {
      return { notShown: 'this line is not JSON' }
    }
  })
}

/** state.json as values; undefined where there is none. */
export async function rememberedState(stateFolder: string, files: NodeFiles): Promise<object | undefined> {
  const state = await files.read(`${stateFolder}/state.json`)
  if (state.kind !== 'file') return undefined
  try {
    return JSON.parse(state.bytes.toString('utf8')) as object
  } catch {
    return { bytes: state.bytes.length, notShown: 'state.json is not JSON' }
  }
}

/** What the kubelet keeps of the agent's Pods where that folder is seen, which is so on the node itself. */
export async function podLogs(files: NodeFiles): Promise<string> {
  const texts: string[] = []
  const pods = (await listOrNone(POD_LOGS, files)).filter((name) => name.includes('registry-trust'))
  for (const pod of pods)
    for (const container of await listOrNone(`${POD_LOGS}/${pod}`, files)) {
      const folder = `${POD_LOGS}/${pod}/${container}`
      // They are numbered: 0.log, 1.log after a restart.
      const newest = (await listOrNone(folder, files)).filter((name) => name.endsWith('.log')).at(-1)
      const state = newest === undefined ? undefined : await files.readFollowing(`${folder}/${newest}`)
      if (state?.kind !== 'file') continue
      texts.push(`==> ${folder}/${newest} <==\n${lastLines(state.bytes.toString('utf8'), LOG_LINES).join('\n')}\n`)
    }
  return texts.join('\n')
}

async function listOrNone(folder: string, files: NodeFiles): Promise<readonly string[]> {
  try {
    return await files.list(folder)
  } catch {
    return []
  }
}

function lastLines(text: string, most: number): readonly string[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .slice(-most)
    .map((line) => line.slice(0, LINE_CHARACTERS))
}
