// What lies in /etc/ssl/certs and in /usr/local/share/ca-certificates, as far as the agent's own files and the names of
// declared certificates go.
import { posix } from 'node:path'
import type { Certificate } from '../../model/desired-state.ts'
import type { FileState, NodeFiles } from '../../model/ports.ts'
import type { AgentState } from '../../model/state.ts'
import type { TargetInput } from '../../model/target.ts'
import { subjectHash } from '../../pki/certificate/subject-hash.ts'
import { firstUnreadable } from '../files/files.ts'
import { firstFingerprint, readBundle } from './bundle.ts'
import { distrustedNow, distrustedPaths, isDistrustAtWork } from './distrust.ts'
import { type ObservedDistrust, observeShipped } from './distrust-observe.ts'
import { MOST_HASH_LINKS } from './hash-links.ts'
import { type Holding, type Placement, placementsOf, spareNames } from './placements.ts'

export const TARGET = 'system-trust'
export const SYSTEM_CERTS = '/etc/ssl/certs'
export const LOCAL_ANCHORS = '/usr/local/share/ca-certificates'
export const BUNDLE = `${SYSTEM_CERTS}/ca-certificates.crt`

type StoreInput = Pick<TargetInput, 'desired' | 'owned'>

/** A placement with the paths of this store. */
export type Placed = Placement & {
  readonly link: string
  readonly source: string
  /** Undefined for a subject that OpenSSL itself cannot hash: no hash link then. */
  readonly hash: string | undefined
}

export type ObservedSystemTrust = {
  readonly layout: 'debian' | 'plain' | 'none'
  readonly writable: boolean
  /** What could not be read, and why: a store that is only seen in part is left alone. */
  readonly unreadable: string | undefined
  readonly bundle: FileState
  /** Sources in /usr/local/share/ca-certificates and below, sorted as `update-ca-certificates` does. */
  readonly sources: readonly { readonly path: string; readonly state: FileState }[]
  /** By path: our links, files and hash links, and the candidates for them. */
  readonly paths: ReadonlyMap<string, FileState>
  /** By path of an existing hash link: the fingerprint of the certificate it leads to. */
  readonly fingerprints: ReadonlyMap<string, string | undefined>
  /** Absent where nothing is, or was, distrusted. */
  readonly distrust?: ObservedDistrust
}

export async function observeSystemTrust(input: StoreInput, files: NodeFiles): Promise<ObservedSystemTrust> {
  const bundle = await readBundle(BUNDLE, files)
  const certs = await files.readFollowing(SYSTEM_CERTS)
  const local = await files.readFollowing(LOCAL_ANCHORS)
  // What the agent did once decides: a folder that is read-only for a while must not turn one layout into the other.
  const isDebian = ownedPaths(input.owned).some((path) => path.startsWith(`${LOCAL_ANCHORS}/`))
  const hasLocal = local.kind === 'folder' && bundle.kind === 'file' && (await files.isWritable(LOCAL_ANCHORS))
  const layout = certs.kind !== 'folder' ? 'none' : isDebian || hasLocal ? 'debian' : 'plain'
  const sources = layout === 'debian' ? await readSources(LOCAL_ANCHORS, files, 3) : []
  const paths = new Map<string, FileState>()
  const fingerprints = new Map<string, string | undefined>()
  const placements = placementsOf(input.desired).map(placed)
  const readAll = async (all: readonly string[]) => {
    for (const path of all) if (!paths.has(path)) paths.set(path, await files.read(path))
  }
  await readAll([...placements.flatMap(({ link, source }) => [link, source]), ...ownedPaths(input.owned)])
  const spare = spareNames(placements, holdingsOf(input.owned, paths, layout), input.desired)
  await readAll(spare.flatMap((fileName) => [linkOf(fileName), sourceOf(fileName)]))
  const distrust = isDistrustAtWork(input) ? await observeShipped(SYSTEM_CERTS, files) : undefined
  const affected = affectedBy(distrust, input)
  await readAll(affected.map(({ link }) => link))
  for (const hash of new Set([...placements, ...affected].flatMap(({ hash }) => hash ?? []))) {
    for (let n = 0; n < MOST_HASH_LINKS; n++) {
      const path = hashPath(hash, n)
      await readAll([path])
      if (stateIn(paths, path).kind === 'absent') break
      const followed = await files.readFollowing(path)
      fingerprints.set(path, followed.kind === 'file' ? firstFingerprint(followed.bytes) : undefined)
    }
  }
  const unreadable = firstUnreadable([
    [BUNDLE, bundle],
    [SYSTEM_CERTS, certs],
    [LOCAL_ANCHORS, local],
    ...paths,
    ...sources.map(({ path, state }) => [path, state] as const),
  ])
  const writable = await files.isWritable(SYSTEM_CERTS)
  const seen = { layout, writable, unreadable, bundle, sources, paths, fingerprints } as const
  return distrust === undefined ? seen : { ...seen, distrust }
}

/** What is to go, and what went before. */
function affectedBy(distrust: ObservedDistrust | undefined, input: StoreInput) {
  const wanted = distrustedNow(input)
  const before = new Set(distrustedPaths(input.owned))
  return (distrust?.shipped ?? []).filter(({ fingerprint, link }) => wanted.has(fingerprint) || before.has(link))
}

async function readSources(
  folder: string,
  files: NodeFiles,
  depth: number,
): Promise<readonly { readonly path: string; readonly state: FileState }[]> {
  const found: { path: string; state: FileState }[] = []
  for (const name of await files.list(folder)) {
    const path = `${folder}/${name}`
    const state = await files.readFollowing(path)
    if (state.kind === 'folder' && depth > 0) found.push(...(await readSources(path, files, depth - 1)))
    else if (name.endsWith('.crt')) found.push({ path, state })
  }
  return found.sort((a, b) => (a.path < b.path ? -1 : 1))
}

export function placed(placement: Placement): Placed {
  const { fileName, certificate } = placement
  return { ...placement, link: linkOf(fileName), source: sourceOf(fileName), hash: hashOf(certificate) }
}

const hashes = new WeakMap<Certificate, string | undefined>()

function hashOf(certificate: Certificate): string | undefined {
  if (!hashes.has(certificate)) hashes.set(certificate, subjectHash(certificate.pem))
  return hashes.get(certificate)
}

export function linkOf(fileName: string): string {
  return `${SYSTEM_CERTS}/${fileName}`
}

export function sourceOf(fileName: string): string {
  return `${LOCAL_ANCHORS}/${fileName.replace(/\.pem$/, '.crt')}`
}

export function hashPath(hash: string, number: number): string {
  return `${SYSTEM_CERTS}/${hash}.${number}`
}

/** Our files by their names in the store, with what they hold now. */
export function holdingsOf(
  owned: AgentState['owned'],
  paths: ReadonlyMap<string, FileState>,
  layout: ObservedSystemTrust['layout'],
): ReadonlyMap<string, Holding> {
  const folder = layout === 'debian' ? LOCAL_ANCHORS : SYSTEM_CERTS
  return new Map(
    ownedPaths(owned).flatMap((path) => {
      const state = stateIn(paths, path)
      if (posix.dirname(path) !== folder || state.kind !== 'file') return []
      const fileName = posix.basename(path).replace(/\.crt$/, '.pem')
      return [[fileName, { anchor: owned[path]?.subject ?? '', fingerprint: firstFingerprint(state.bytes) }] as const]
    }),
  )
}

export function ownedPaths(owned: AgentState['owned']): readonly string[] {
  const isHere = (path: string) => path.startsWith(`${SYSTEM_CERTS}/`) || path.startsWith(`${LOCAL_ANCHORS}/`)
  const others = new Set([BUNDLE, ...distrustedPaths(owned)])
  return Object.keys(owned).filter((path) => owned[path]?.target === TARGET && !others.has(path) && isHere(path))
}

export function stateIn(paths: ReadonlyMap<string, FileState>, path: string): FileState {
  return paths.get(path) ?? { kind: 'absent' }
}
