// The node's own trust store. On Debian and Ubuntu the result is byte for byte what `update-ca-certificates` makes of
// the same anchors (source in /usr/local/share/ca-certificates, link and hash link in /etc/ssl/certs, bundle), so that a
// later run of it changes nothing; elsewhere a regular file and a hash link. It never asks for a restart: containerd
// reads each registry's CA through hosts.toml.

import { posix } from 'node:path'
import { type Problem, problem } from '../../model/errors.ts'
import type { Change, FileContent, OwnedPath } from '../../model/plan.ts'
import type { FileState } from '../../model/ports.ts'
import type { AgentState } from '../../model/state.ts'
import type { TargetInput, TargetPlan } from '../../model/target.ts'
import { difference, isFile, NOTHING_TO_DO, rootFile, sha256 } from '../files/files.ts'
import { insertInOrder } from './bundle-order.ts'
import {
  BUNDLE,
  LOCAL_ANCHORS,
  MOST_HASH_LINKS,
  type ObservedSystemTrust,
  ownedPaths,
  type Placement,
  placementsOf,
  SYSTEM_CERTS,
  TARGET,
} from './debian-observe.ts'

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
