// What `when` is judged by. Reads only; a fact that cannot be had is left out, and nothing is concluded from that.
import { posix } from 'node:path'
import { MAX_NOTE_BYTES, NOTE_FILE, parseNote } from '../../config/fleet-note.ts'
import type { NodeFacts } from '../../model/desired-state.ts'
import { asAgentError } from '../../model/errors.ts'
import { NO_RUNTIME } from '../../model/observed-state.ts'
import type { CriConnector, InputFiles, NodeFiles } from '../../model/ports.ts'
import { findSocket } from './containerd.ts'

export type NodeFactsOptions = {
  readonly name: string
  /** As Node.js has it: x64. */
  readonly arch: string
  readonly address: string | undefined
  /** File with labels as the downward API writes them; undefined: the labels are not known. */
  readonly labelsFile: string | undefined
  /** Folder of the note of the fleet component, which may tell labels too. */
  readonly fleetFolder?: string | undefined
}

export type NodeFactsPorts = {
  readonly files: NodeFiles
  readonly inputs: InputFiles
  readonly connectCri: CriConnector
}

const CALL_MS = 2_000
const MOST_LABEL_BYTES = 256 * 1024
/** The first that exists counts (os-release(5)). */
const OS_RELEASE = ['/etc/os-release', '/usr/lib/os-release']
const KUBERNETES_ARCH: { readonly [arch: string]: string } = { x64: 'amd64', ia32: '386', ppc64: 'ppc64le' }

export async function observeNodeFacts(
  needed: ReadonlySet<keyof NodeFacts>,
  { name, arch, address, labelsFile, fleetFolder }: NodeFactsOptions,
  ports: NodeFactsPorts,
): Promise<NodeFacts> {
  const os = needed.has('os') ? await osOf(ports.files) : undefined
  const containerd = needed.has('containerd') ? await versionAt(address, ports) : undefined
  const labels = needed.has('labels') ? await labelsOf(labelsFile, fleetFolder, ports.inputs) : {}
  return {
    name,
    arch: KUBERNETES_ARCH[arch] ?? arch,
    ...(os !== undefined && { os }),
    ...(containerd !== undefined && { containerd }),
    ...labels,
  }
}

async function osOf(files: NodeFiles): Promise<string | undefined> {
  for (const path of OS_RELEASE) {
    const state = await files.readFollowing(path)
    if (state.kind === 'file') return osReleaseId(state.bytes.toString('utf8'))
  }
  return undefined
}

/** A file without ID is one of `linux` (os-release(5)). */
export function osReleaseId(text: string): string {
  return /^ID=["']?([a-z0-9._-]+)/m.exec(text)?.[1] ?? 'linux'
}

async function versionAt(
  address: string | undefined,
  { files, connectCri }: NodeFactsPorts,
): Promise<string | undefined> {
  if (address === NO_RUNTIME) return undefined
  const socket = await findSocket(address, files)
  if (typeof socket !== 'string') return undefined
  const cri = connectCri(socket)
  try {
    const { runtimeName, runtimeVersion } = await cri.version({ timeoutMs: CALL_MS })
    return runtimeName === 'containerd' ? runtimeVersion : undefined
  } catch (thrown) {
    asAgentError(thrown)
    return undefined
  } finally {
    cri.close()
  }
}

/** The file of the user comes before what the fleet component tells. */
async function labelsOf(
  file: string | undefined,
  fleetFolder: string | undefined,
  inputs: InputFiles,
): Promise<Pick<NodeFacts, 'labels' | 'hasOtherLabels'>> {
  const given = file === undefined ? undefined : await labelsIn(file, inputs)
  if (given !== undefined) return { labels: given }
  if (fleetFolder === undefined) return {}
  const note = await inputs
    .read(posix.join(fleetFolder, NOTE_FILE), { maxBytes: MAX_NOTE_BYTES })
    .catch(() => undefined)
  const labels = note?.kind === 'file' ? parseNote(note.bytes.toString('utf8'))?.labels : undefined
  return labels === undefined ? {} : { labels, hasOtherLabels: true }
}

async function labelsIn(path: string, inputs: InputFiles): Promise<NodeFacts['labels']> {
  const input = await inputs.read(path, { maxBytes: MOST_LABEL_BYTES }).catch(() => undefined)
  return input?.kind === 'file' ? readLabels(input.bytes.toString('utf8')) : undefined
}

/** One a line, `KEY="VALUE"`, the value quoted as Go does it (k8s.io/kubernetes pkg/fieldpath, FormatMap). */
export function readLabels(text: string): { readonly [key: string]: string } {
  const pairs = text.split('\n').flatMap((line) => {
    const [, key, value] = /^([A-Za-z0-9._/-]+)="([A-Za-z0-9._-]*)"\s*$/.exec(line) ?? []
    return key === undefined || value === undefined ? [] : [[key, value] as const]
  })
  return Object.assign(Object.create(null), Object.fromEntries(pairs))
}
