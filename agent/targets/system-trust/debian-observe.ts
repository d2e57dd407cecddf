// /etc/ssl/certs and, on Debian and Ubuntu, the sources it is made of: the names that anchors get there, and what is there now.
import { X509Certificate } from 'node:crypto'
import type { Certificate, TrustAnchor } from '../../model/desired-state.ts'
import type { FileState, NodeFiles } from '../../model/ports.ts'
import type { AgentState } from '../../model/state.ts'
import type { TargetInput } from '../../model/target.ts'
import { subjectHash } from '../../pki/certificate/subject-hash.ts'
import { firstUnreadable } from '../files/files.ts'
import { readBundle } from './bundle.ts'

export const TARGET = 'system-trust'
export const SYSTEM_CERTS = '/etc/ssl/certs'
export const LOCAL_ANCHORS = '/usr/local/share/ca-certificates'
export const BUNDLE = `${SYSTEM_CERTS}/ca-certificates.crt`
export const MOST_HASH_LINKS = 10

type StoreInput = Pick<TargetInput, 'desired' | 'owned'>

/** One certificate of one anchor and the names it gets. */
export type Placement = {
  readonly anchor: string
  readonly certificate: Certificate
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
  const placements = placementsOf(input)
  for (const path of [...placements.map((p) => p.link), ...placements.map((p) => p.source), ...ownedPaths(input.owned)])
    if (!paths.has(path)) paths.set(path, await files.read(path))
  for (const hash of new Set(placements.flatMap((placement) => placement.hash ?? [])))
    for (let n = 0; n < MOST_HASH_LINKS; n++) {
      const path = `${SYSTEM_CERTS}/${hash}.${n}`
      const state = await files.read(path)
      paths.set(path, state)
      if (state.kind === 'absent') break
      const followed = await files.readFollowing(path)
      fingerprints.set(path, followed.kind === 'file' ? firstFingerprint(followed.bytes) : undefined)
    }
  const unreadable = firstUnreadable([
    [BUNDLE, bundle],
    [SYSTEM_CERTS, certs],
    [LOCAL_ANCHORS, local],
    ...paths,
    ...sources.map(({ path, state }) => [path, state] as const),
  ])
  const writable = await files.isWritable(SYSTEM_CERTS)
  return { layout, writable, unreadable, bundle, sources, paths, fingerprints }
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

function firstFingerprint(bytes: Buffer): string | undefined {
  try {
    return `sha256:${new X509Certificate(bytes).fingerprint256.replaceAll(':', '').toLowerCase()}`
  } catch {
    return undefined
  }
}

export function placementsOf({ desired }: StoreInput): readonly Placement[] {
  if (desired.targets.systemTrust.enabled === 'off') return []
  const place = (anchor: TrustAnchor) =>
    anchor.certificates.map((certificate, index) => {
      const name = index === 0 ? anchor.name : `${anchor.name}-${index + 1}`
      const fileName = desired.targets.systemTrust.fileName.replace('{name}', name)
      return {
        anchor: anchor.name,
        certificate,
        link: `${SYSTEM_CERTS}/${fileName}`,
        source: `${LOCAL_ANCHORS}/${fileName.replace(/\.pem$/, '.crt')}`,
        hash: subjectHash(certificate.pem),
      }
    })
  const seen = new Set<string>()
  return desired.anchors
    .flatMap(place)
    .filter(({ certificate }) => !seen.has(certificate.fingerprint) && seen.add(certificate.fingerprint))
}

export function ownedPaths(owned: AgentState['owned']): readonly string[] {
  const isHere = (path: string) => path.startsWith(`${SYSTEM_CERTS}/`) || path.startsWith(`${LOCAL_ANCHORS}/`)
  return Object.keys(owned).filter((path) => owned[path]?.target === TARGET && path !== BUNDLE && isHere(path))
}

/** Paths of anchors whose input is broken now: the last good ones stay. */
