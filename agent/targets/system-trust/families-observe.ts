// The stores of the other distributions: where they lie, which sources they would hold, and what is there now.
import { posix } from 'node:path'
import type { FileState, NodeFiles } from '../../model/ports.ts'
import type { TargetInput } from '../../model/target.ts'
import { sha256 } from '../files/files.ts'
import { fingerprintOf, firstFingerprint, readBundle } from './bundle.ts'
import { type ExtractedCopy, observeCopies } from './copies-observe.ts'
import { distrustedPaths, isDistrustAtWork } from './distrust.ts'
import { arrange, type Holding, type Placement, placementsOf, spareNames } from './placements.ts'

export const TARGET = 'system-trust'

export type Family = {
  /** Folder of sources; undefined: the bundle is all there is. */
  readonly sources?: string
  readonly bundle: string
  /** Folders in which the distribution's own tool puts copies of the sources. */
  readonly copies?: readonly string[]
  /** Folders of certificates that are not to be trusted; the first that is there counts. */
  readonly blocklists?: readonly string[]
  /** ID or ID_LIKE of os-release: where the bundle is not seen, they tell that it is there. */
  readonly ids: readonly string[]
  /** What a Pod has to mount in addition. */
  readonly folders: readonly string[]
}

/**
 * The first whose bundle is there counts. Debian, Ubuntu and Alpine are system-trust.ts, as is every folder
 * /etc/ssl/certs.
 */
export const FAMILIES: { readonly [name: string]: Family } = {
  rhel: {
    sources: '/etc/pki/ca-trust/source/anchors',
    bundle: '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
    copies: ['/etc/pki/ca-trust/extracted/pem/directory-hash'],
    blocklists: ['/etc/pki/ca-trust/source/blocklist', '/etc/pki/ca-trust/source/blacklist'],
    ids: ['rhel', 'fedora', 'centos', 'amzn', 'azurelinux', 'mariner'],
    folders: ['/etc/pki/ca-trust'],
  },
  suse: {
    sources: '/etc/pki/trust/anchors',
    bundle: '/var/lib/ca-certificates/ca-bundle.pem',
    copies: ['/var/lib/ca-certificates/pem', '/var/lib/ca-certificates/openssl'],
    blocklists: ['/etc/pki/trust/blocklist', '/etc/pki/trust/blacklist'],
    ids: ['suse', 'sles', 'opensuse'],
    folders: ['/etc/pki/trust', '/var/lib/ca-certificates'],
  },
  photon: { bundle: '/etc/pki/tls/certs/ca-bundle.crt', ids: ['photon'], folders: ['/etc/pki/tls/certs'] },
}

/** A store that this node has by its os-release, and that is not mounted into this Pod. */
export type UnseenStore = { readonly name: string; readonly folders: readonly string[] }

export type ObservedAnchorStore = {
  readonly family: Family | undefined
  readonly unseen?: UnseenStore
  readonly isWritable: boolean
  readonly bundle: FileState
  readonly sources: ReadonlyMap<string, FileState>
  /** Of anchors that are no longer declared. */
  readonly copies?: readonly ExtractedCopy[]
  /** Folder of certificates that are not to be trusted; absent where there is none, and where none is needed. */
  readonly blocklist?: string
  /** What lies in it, by path. */
  readonly blocked?: ReadonlyMap<string, FileState>
  /** The bundle before the agent first changed it. */
  readonly original?: string
}

/** The bytes of a backup, by their SHA-256. */
export type Backup = (sha256: string) => Promise<Buffer>

export type AnchorInput = Pick<TargetInput, 'desired' | 'owned'>
export type Source = Placement & { readonly path: string }

export async function observeAnchorStore(
  input: AnchorInput,
  files: NodeFiles,
  backup?: Backup,
): Promise<ObservedAnchorStore> {
  const none = { family: undefined, isWritable: false, bundle: { kind: 'absent' }, sources: new Map() } as const
  for (const family of Object.values(FAMILIES)) {
    const bundle = await readBundle(family.bundle, files)
    if (bundle.kind !== 'file') continue
    const sources = new Map<string, FileState>()
    const placements = placementsOf(input.desired)
    const read = async (path: string) => sources.set(path, await files.read(path))
    for (const { fileName } of placements) await read(pathOf(family, fileName))
    for (const path of ownedSources(family, input.owned)) await read(path)
    const spare = spareNames(placements, holdingsOf(family, input.owned, sources), input.desired)
    for (const fileName of spare) await read(pathOf(family, fileName))
    const folders = [posix.dirname(family.bundle), ...(family.sources === undefined ? [] : [family.sources])]
    const writable = await Promise.all(folders.map((folder) => files.isWritable(folder)))
    const copies = await observeCopies(family.copies ?? [], withdrawn(family, input, sources), files)
    const seen = { family, isWritable: writable.every((one) => one), bundle, sources, copies }
    return isDistrustAtWork(input) ? { ...seen, ...(await observeBlocklist(family, input, files, backup)) } : seen
  }
  const unseen = await unseenStore(files)
  return unseen === undefined ? none : { ...none, unseen }
}

/** The first that exists counts (os-release(5)). */
const OS_RELEASE = ['/etc/os-release', '/usr/lib/os-release']

async function unseenStore(files: NodeFiles): Promise<UnseenStore | undefined> {
  const ids = new Set(await osIds(files))
  for (const [name, family] of Object.entries(FAMILIES)) {
    const folders = family.folders.filter((folder) => !files.isSeen(folder))
    if (folders.length > 0 && family.ids.some((id) => ids.has(id))) return { name, folders }
  }
  return undefined
}

async function osIds(files: NodeFiles): Promise<readonly string[]> {
  for (const path of OS_RELEASE) {
    const state = await files.readFollowing(path)
    if (state.kind !== 'file') continue
    const lines = state.bytes.toString('utf8').matchAll(/^ID(?:_LIKE)?=["']?([^"'\n]*)/gm)
    return [...lines].flatMap(([, value = '']) => value.split(/\s+/))
  }
  return []
}

async function observeBlocklist(
  family: Family,
  { owned }: AnchorInput,
  files: NodeFiles,
  backup: Backup | undefined,
): Promise<Pick<ObservedAnchorStore, 'blocklist' | 'blocked' | 'original'>> {
  for (const folder of family.blocklists ?? []) {
    if ((await files.read(folder)).kind !== 'folder' || !(await files.isWritable(folder))) continue
    const names = (await files.list(folder)).filter((name) => name.startsWith('registry-trust-'))
    const paths = new Set([...names.map((name) => `${folder}/${name}`), ...distrustedPaths(owned)])
    const blocked = new Map<string, FileState>()
    for (const path of paths) blocked.set(path, await files.read(path))
    const before = owned[family.bundle]?.before
    const bytes = before?.kind === 'file' ? await backup?.(before.sha256).catch(() => undefined) : undefined
    return { blocklist: folder, blocked, ...(bytes !== undefined && { original: bytes.toString('utf8') }) }
  }
  return {}
}

function placed(family: Family, placement: Placement): Source {
  return { ...placement, path: pathOf(family, placement.fileName) }
}

function pathOf(family: Family, fileName: string): string {
  return `${family.sources ?? posix.dirname(family.bundle)}/${fileName}`
}

/** Fingerprints of what the agent's sources hold and what is not to be there any more; an anchor without a content now is held. */
function withdrawn(family: Family, input: AnchorInput, sources: ReadonlyMap<string, FileState>): ReadonlySet<string> {
  const { desired, owned } = input
  const held = new Set(desired.anchors.filter(({ certificates }) => certificates.length === 0).map(({ name }) => name))
  const wanted = new Set(sourcesOf(family, input, sources).map(({ certificate }) => fingerprintOf(certificate.pem)))
  const leaving = ownedSources(family, owned).flatMap((path) => {
    const state = sources.get(path)
    if (state?.kind !== 'file' || held.has(owned[path]?.subject ?? '')) return []
    if (sha256(state.bytes) !== owned[path]?.sha256) return []
    const fingerprint = firstFingerprint(state.bytes)
    return fingerprint === undefined || wanted.has(fingerprint) ? [] : [fingerprint]
  })
  return new Set(leaving)
}

/** In the order in which they are written. */
export function sourcesOf(
  family: Family,
  input: AnchorInput,
  sources: ReadonlyMap<string, FileState>,
): readonly Source[] {
  const isFree = (fileName: string) => sources.get(pathOf(family, fileName))?.kind === 'absent'
  const holdings = holdingsOf(family, input.owned, sources)
  return arrange(placementsOf(input.desired), holdings, input.desired, isFree).map((one) => placed(family, one))
}

/** Our files by their names, with what they hold now. */
function holdingsOf(
  family: Family,
  owned: AnchorInput['owned'],
  sources: ReadonlyMap<string, FileState>,
): ReadonlyMap<string, Holding> {
  return new Map(
    ownedSources(family, owned).flatMap((path) => {
      const state = sources.get(path)
      if (state?.kind !== 'file') return []
      const holding = { anchor: owned[path]?.subject ?? '', fingerprint: firstFingerprint(state.bytes) }
      return [[posix.basename(path), holding] as const]
    }),
  )
}

export function ownedSources({ sources }: Family, owned: AnchorInput['owned']): readonly string[] {
  if (sources === undefined) return []
  return Object.keys(owned).filter((path) => owned[path]?.target === TARGET && path.startsWith(`${sources}/`))
}
