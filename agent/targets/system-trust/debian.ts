// The node's own trust store. On Debian and Ubuntu the result is byte for byte what `update-ca-certificates` makes of
// the same anchors (source in /usr/local/share/ca-certificates, link and hash link in /etc/ssl/certs, bundle), so that a
// later run of it changes nothing; elsewhere a regular file and a hash link. It never asks for a restart: containerd
// reads each registry's CA through hosts.toml.
import { X509Certificate } from 'node:crypto'
import { posix } from 'node:path'
import type { Certificate, TrustAnchor } from '../../model/desired-state.ts'
import { type Problem, problem } from '../../model/errors.ts'
import type { Change, FileContent, OwnedPath } from '../../model/plan.ts'
import type { FileState, NodeFiles } from '../../model/ports.ts'
import type { AgentState } from '../../model/state.ts'
import type { TargetInput, TargetPlan } from '../../model/target.ts'
import { subjectHash } from '../../pki/certificate/subject-hash.ts'
import { difference, firstUnreadable, isFile, NOTHING_TO_DO, rootFile, sha256 } from '../files/files.ts'
import { readBundle } from './bundle.ts'
import { insertInOrder } from './bundle-order.ts'

const TARGET = 'system-trust'
export const SYSTEM_CERTS = '/etc/ssl/certs'
export const LOCAL_ANCHORS = '/usr/local/share/ca-certificates'
const BUNDLE = `${SYSTEM_CERTS}/ca-certificates.crt`
const MOST_HASH_LINKS = 10

type StoreInput = Pick<TargetInput, 'desired' | 'owned'>

/** One certificate of one anchor and the names it gets. */
type Placement = {
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

function placementsOf({ desired }: StoreInput): readonly Placement[] {
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

export function planSystemTrust(input: TargetInput, observed: ObservedSystemTrust): TargetPlan {
  const { enabled } = input.desired.targets.systemTrust
  if (enabled === 'off' && ownedPaths(input.owned).length === 0) return NOTHING_TO_DO
  if (observed.unreadable !== undefined) {
    const text = `${observed.unreadable}; the system store was left unchanged`
    return { changes: [], problems: [problem('NODE_FILE_UNREADABLE', text)] }
  }
  if (observed.layout === 'none' || !observed.writable) {
    if (enabled !== 'on') return unwritable(input, observed)
    const why = observed.layout === 'none' ? 'does not exist' : 'is not writable'
    return {
      changes: [],
      problems: [problem('TARGET_READ_ONLY', `${SYSTEM_CERTS} ${why}, but targets.systemTrust is enabled`)],
    }
  }
  return observed.layout === 'debian' ? planDebian(input, observed) : planPlain(input, observed)
}

/** Nobody asked for the store in so many words; but what the agent put there may not stay unnoticed. */
function unwritable(input: TargetInput, observed: ObservedSystemTrust): TargetPlan {
  if (ownedPaths(input.owned).length === 0) return NOTHING_TO_DO
  const { changes } = observed.layout === 'debian' ? planDebian(input, observed) : planPlain(input, observed)
  if (changes.length === 0) return NOTHING_TO_DO
  const text = `${SYSTEM_CERTS} is not writable, but what the agent put there has to change: ${changes.map(({ path }) => path).join(', ')}`
  return { changes: [], problems: [problem('TARGET_READ_ONLY', text)] }
}

function planDebian(input: TargetInput, observed: ObservedSystemTrust): TargetPlan {
  const additions: Change[] = []
  const problems: Problem[] = []
  const keep = heldPaths(input)
  const installed: Placement[] = []
  const taken = new Set<string>()
  for (const placement of placementsOf(input)) {
    const { source, link, certificate } = placement
    const state = stateAt(source, observed)
    const isOwn = input.owned[source] !== undefined
    if (!isOwn && state.kind === 'absent' && bundleText(observed).includes(certificate.pem)) continue
    const wanted = rootFile(certificate.pem)
    const conflict = conflictWith(placement, observed, input.owned, source)
    if (conflict !== undefined) {
      problems.push(conflict)
      continue
    }
    if (!isOwn && isSameText(state, certificate.pem)) continue
    installed.push(placement)
    additions.push(...put(placement, LOCAL_ANCHORS, source, wanted, observed))
    additions.push(...put(placement, SYSTEM_CERTS, link, { kind: 'link', to: source }, observed))
    const hash = hashLink(placement, observed, taken)
    if (hash !== undefined) {
      additions.push(...put(placement, SYSTEM_CERTS, hash, { kind: 'link', to: posix.basename(link) }, observed))
      keep.add(hash)
    }
    for (const path of [source, link]) keep.add(path)
  }
  const removals = removalsOf(input.owned, keep, observed)
  const held = heldPaths(input)
  const replaceable = ownedPaths(input.owned).filter((path) => path.startsWith(`${LOCAL_ANCHORS}/`) && !held.has(path))
  const gone = replaceable.flatMap((path) => {
    const state = stateAt(path, observed)
    return state.kind === 'file' ? [state.bytes.toString('utf8')] : []
  })
  const bundle = planBundle(installed, gone, input.owned, observed, keep.size > 0)
  const isRemovalOnly = additions.length === 0
  return {
    changes: isRemovalOnly ? [...bundle, ...removals] : [...removals, ...additions, ...bundle],
    problems,
  }
}

function planPlain(input: TargetInput, observed: ObservedSystemTrust): TargetPlan {
  const additions: Change[] = []
  const problems: Problem[] = []
  const keep = heldPaths(input)
  const taken = new Set<string>()
  for (const placement of placementsOf(input)) {
    const { link, certificate } = placement
    const conflict = conflictWith(placement, observed, input.owned, link)
    if (conflict !== undefined) {
      problems.push(conflict)
      continue
    }
    if (input.owned[link] === undefined && isSameText(stateAt(link, observed), certificate.pem)) continue
    additions.push(...put(placement, SYSTEM_CERTS, link, rootFile(certificate.pem), observed))
    keep.add(link)
    const hash = hashLink(placement, observed, taken)
    if (hash === undefined) continue
    additions.push(...put(placement, SYSTEM_CERTS, hash, { kind: 'link', to: posix.basename(link) }, observed))
    keep.add(hash)
  }
  return { changes: [...removalsOf(input.owned, keep, observed), ...additions], problems }
}

function stateAt(path: string, observed: ObservedSystemTrust): FileState {
  return observed.paths.get(path) ?? { kind: 'absent' }
}

function isSameText(state: FileState, text: string): boolean {
  return state.kind === 'file' && state.bytes.toString('utf8').trimEnd() === text.trimEnd()
}

function bundleText(observed: ObservedSystemTrust): string {
  return observed.bundle.kind === 'file' ? observed.bundle.bytes.toString('utf8') : ''
}

/** A path that someone else made, with other content than ours, is left alone. */
function conflictWith(
  { anchor, certificate, link, source }: Placement,
  observed: ObservedSystemTrust,
  owned: AgentState['owned'],
  contentPath: string,
): Problem | undefined {
  for (const path of new Set([contentPath, link])) {
    if (owned[path] !== undefined) continue
    const state = stateAt(path, observed)
    if (state.kind === 'absent' || isSameText(state, certificate.pem)) continue
    if (path === link && contentPath !== link && state.kind === 'link' && state.to === source) continue
    return problem(
      'FILE_FOREIGN',
      `${path} exists and is not the agent's; anchor ${anchor} was not put into the system store`,
    )
  }
  return undefined
}

function put(
  placement: Placement,
  folder: string,
  path: string,
  content: Extract<FileContent, { kind: 'file' | 'link' }>,
  observed: ObservedSystemTrust,
): readonly Change[] {
  const state = stateAt(path, observed)
  if (content.kind === 'file' ? isFile(state, content) : state.kind === 'link' && state.to === content.to) return []
  const isNew = state.kind === 'absent'
  return [
    {
      target: TARGET,
      action: content.kind === 'link' ? 'link' : isNew ? 'create' : 'update',
      path,
      ...(isNew || content.kind === 'link'
        ? linkDifference(placement, content.kind, isNew)
        : difference(state, content)),
      subject: placement.anchor,
      folder,
      after: content,
      owns: [owned(path, content)],
      forgets: [],
    },
  ]
}

function linkDifference({ anchor }: Placement, kind: 'file' | 'link', isNew: boolean) {
  if (!isNew) return { drift: 'changed' as const, reason: 'it leads elsewhere' }
  return {
    drift: 'missing' as const,
    reason: kind === 'file' ? `trust anchor ${anchor}` : `link to trust anchor ${anchor}`,
  }
}

function owned(path: string, content: Extract<FileContent, { kind: 'file' | 'link' }>): OwnedPath {
  return { path, kind: 'whole', sha256: sha256(content.kind === 'file' ? content.bytes : content.to) }
}

/** The name that `openssl rehash` would give: the first free number, none when that certificate is linked already. */
function hashLink(placement: Placement, observed: ObservedSystemTrust, taken: Set<string>): string | undefined {
  if (placement.hash === undefined) return undefined
  for (let n = 0; n < MOST_HASH_LINKS; n++) {
    const path = `${SYSTEM_CERTS}/${placement.hash}.${n}`
    if (taken.has(path)) continue
    const state = stateAt(path, observed)
    const isOurs = state.kind === 'link' && state.to === posix.basename(placement.link)
    if (state.kind === 'absent' || isOurs) {
      taken.add(path)
      return path
    }
    if (observed.fingerprints.get(path) === placement.certificate.fingerprint) return undefined
  }
  return undefined
}

function ownedPaths(owned: AgentState['owned']): readonly string[] {
  const isHere = (path: string) => path.startsWith(`${SYSTEM_CERTS}/`) || path.startsWith(`${LOCAL_ANCHORS}/`)
  return Object.keys(owned).filter((path) => owned[path]?.target === TARGET && path !== BUNDLE && isHere(path))
}

/** Paths of anchors whose input is broken now: the last good ones stay. */
function heldPaths({ desired, owned }: TargetInput): Set<string> {
  if (desired.targets.systemTrust.enabled === 'off') return new Set()
  const held = new Set(
    desired.anchors.filter((anchor) => anchor.certificates.length === 0).map((anchor) => anchor.name),
  )
  return new Set(ownedPaths(owned).filter((path) => held.has(owned[path]?.subject ?? '')))
}

/** Links before the files they lead to. */
function removalsOf(
  owned: AgentState['owned'],
  keep: ReadonlySet<string>,
  observed: ObservedSystemTrust,
): readonly Change[] {
  const rank = (path: string) => (stateAt(path, observed).kind === 'link' ? 0 : 1)
  return ownedPaths(owned)
    .filter((path) => !keep.has(path))
    .toSorted((a, b) => rank(a) - rank(b))
    .map((path) => {
      const state = stateAt(path, observed)
      const changed = isChangedByOthers(state, owned[path]?.sha256)
      return {
        target: TARGET,
        action: 'delete',
        path,
        reason: changed
          ? 'it is no longer managed by the agent'
          : `anchor ${owned[path]?.subject} is no longer wanted here`,
        subject: owned[path]?.subject ?? '',
        folder: path.startsWith(`${LOCAL_ANCHORS}/`) ? LOCAL_ANCHORS : SYSTEM_CERTS,
        after: changed && (state.kind === 'file' || state.kind === 'link') ? state : { kind: 'absent' },
        owns: [],
        forgets: [path],
      }
    })
}

function isChangedByOthers(state: FileState, digest: string | undefined): boolean {
  if (state.kind === 'file') return sha256(state.bytes) !== digest
  return state.kind === 'link' && sha256(state.to) !== digest
}

/** Certificates go where `update-ca-certificates` puts them: sources in the order of their paths, after the distribution's. */
function planBundle(
  installed: readonly Placement[],
  gone: readonly string[],
  owned: AgentState['owned'],
  observed: ObservedSystemTrust,
  somethingStays: boolean,
): readonly Change[] {
  const { bundle } = observed
  if (bundle.kind !== 'file') return []
  const before = bundle.bytes.toString('utf8')
  const wanted = new Set(installed.map(({ certificate }) => certificate.pem))
  const foreign = observed.sources.flatMap(({ path, state }) =>
    state.kind === 'file' ? [{ path, text: state.bytes.toString('utf8') }] : [],
  )
  const ours = installed.map((other) => ({ path: other.source, text: other.certificate.pem }))
  let text = gone.filter((pem) => !wanted.has(pem)).reduce((rest, pem) => rest.replace(pem, ''), before)
  for (const { source, certificate } of installed)
    if (!text.includes(certificate.pem))
      text = insertInOrder(text, { path: source, text: certificate.pem }, foreign, ours)
  if (text === before) return []
  return [
    {
      target: TARGET,
      action: 'edit',
      path: BUNDLE,
      reason: installed.some(({ certificate }) => !before.includes(certificate.pem))
        ? 'the bundle lacks declared anchors'
        : 'the bundle holds anchors that are no longer declared',
      subject: '',
      folder: SYSTEM_CERTS,
      after: { ...bundle, kind: 'file', bytes: Buffer.from(text) },
      owns: somethingStays ? [{ path: BUNDLE, kind: 'edited', sha256: sha256(text) }] : [],
      forgets: somethingStays || owned[BUNDLE] === undefined ? [] : [BUNDLE],
    },
  ]
}
