// The node's own trust store. On Debian and Ubuntu the result is byte for byte what `update-ca-certificates` makes of
// the same anchors (source in /usr/local/share/ca-certificates, link and hash link in /etc/ssl/certs, bundle), so that
// a later run of it changes nothing; elsewhere a regular file and a hash link. It never asks for a restart: containerd
// reads each registry's CA through hosts.toml.
import { posix } from 'node:path'
import { type Problem, problem } from '../../model/errors.ts'
import type { Change, FileContent, OwnedPath } from '../../model/plan.ts'
import type { FileState } from '../../model/ports.ts'
import type { AgentState } from '../../model/state.ts'
import type { TargetInput, TargetPlan } from '../../model/target.ts'
import { difference, isFile, NOTHING_TO_DO, rootFile, sha256 } from '../files/files.ts'
import { lostTexts } from './bundle.ts'
import { planBundle, textOfBundle } from './debian-bundle.ts'
import {
  BUNDLE,
  hashPath,
  holdingsOf,
  LOCAL_ANCHORS,
  linkOf,
  type ObservedSystemTrust,
  ownedPaths,
  type Placed,
  placed,
  SYSTEM_CERTS,
  sourceOf,
  stateIn,
  TARGET,
} from './debian-observe.ts'
import { distrustedPaths, isDistrustAtWork } from './distrust.ts'
import { planDistrust } from './distrust-debian.ts'
import { numbersOf } from './hash-links.ts'
import { arrange, placementsOf } from './placements.ts'

export function planSystemTrust(input: TargetInput, observed: ObservedSystemTrust): TargetPlan {
  const { enabled } = input.desired.targets.systemTrust
  const mine = [...ownedPaths(input.owned), ...distrustedPaths(input.owned)]
  if (enabled === 'off' && mine.length === 0) return NOTHING_TO_DO
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
  return planStore(input, observed)
}

function planStore(input: TargetInput, observed: ObservedSystemTrust): TargetPlan {
  const distrust = planDistrust(input, observed)
  const { view, reserved, isInForce } = distrust
  const plan =
    observed.layout === 'debian'
      ? planDebian(input, view, observed.bundle, { reserved, isInForce })
      : planPlain(input, view)
  const placed = new Set(plan.changes.map(({ path }) => path))
  const after = distrust.after.filter(({ path }) => !placed.has(path))
  return {
    changes: [...distrust.before, ...plan.changes, ...after],
    problems: [...plan.problems, ...distrust.problems],
    ...(distrust.pending.length > 0 && { distrusts: distrust.pending }),
  }
}

function withdrawnPaths({ owned, desired }: TargetInput): readonly string[] {
  const declared = new Set(desired.anchors.map(({ name }) => name))
  return ownedPaths(owned).filter((path) => path !== BUNDLE && !declared.has(owned[path]?.subject ?? ''))
}

/** The store is not enabled explicitly, but what the agent put there must not stay unnoticed. */
function unwritable(input: TargetInput, observed: ObservedSystemTrust): TargetPlan {
  if (ownedPaths(input.owned).length === 0 && !isDistrustAtWork(input)) return NOTHING_TO_DO
  const { changes } = planStore(input, observed)
  const withdrawn = withdrawnPaths(input)
  if (observed.layout === 'none' && withdrawn.length > 0) {
    const text = `the system store cannot be reached any more; anchors that are no longer declared stay trusted there: ${withdrawn.join(', ')}`
    return { changes: [], problems: [problem('TARGET_READ_ONLY', text)] }
  }
  if (changes.length === 0) return NOTHING_TO_DO
  const text = `${SYSTEM_CERTS} is not writable, but this has to change: ${changes.map(({ path }) => path).join(', ')}`
  return { changes: [], problems: [problem('TARGET_READ_ONLY', text)] }
}

/** `bundle`: as it is now; `observed` has it as `distrust` leaves it. */
function planDebian(
  input: TargetInput,
  observed: ObservedSystemTrust,
  bundle: FileState,
  { reserved, isInForce }: { readonly reserved: ReadonlySet<string>; readonly isInForce: boolean },
): TargetPlan {
  const held = heldPaths(input)
  const ours = textsOf(input.owned, observed)
  const inBundle = textOfBundle(observed)
  const problems: Problem[] = []
  const place = (placement: Placed): readonly Placed[] => {
    const { source, certificate } = placement
    const state = stateAt(source, observed)
    const isOwn = input.owned[source] !== undefined
    // In the bundle without us: of the distribution's. What our own source has put there counts for nothing: it may be
    // about to go.
    const isProvided = inBundle.has(certificate.pem) && !ours.has(certificate.pem)
    if (isProvided && (isOwn || state.kind === 'absent')) return []
    const conflict = conflictWith(placement, observed, input.owned, source)
    if (conflict === undefined) return isOwn || !isSameText(state, certificate.pem) ? [placement] : []
    problems.push(conflict)
    return whereItLies(placement, input, observed)
  }
  const installed = arranged(input, observed).flatMap(place)
  const { additions, keep } = write(installed, held, input, observed, reserved, (placement) => [
    ...put(placement, LOCAL_ANCHORS, placement.source, rootFile(placement.certificate.pem), observed),
    ...put(placement, SYSTEM_CERTS, placement.link, { kind: 'link', to: placement.source }, observed),
  ])
  const gone = [...ours].flatMap(([pem, path]) => (held.has(path) ? [] : [pem]))
  const edit = planBundle(installed, gone, input.owned, observed, bundle, keep.size > 0 || isInForce)
  const kept = new Set([...keep, ...reserved])
  return { changes: [...additions, ...edit, ...removalsOf(input.owned, kept, observed)], problems }
}

function planPlain(input: TargetInput, observed: ObservedSystemTrust): TargetPlan {
  const problems: Problem[] = []
  const place = (placement: Placed): readonly Placed[] => {
    const { link, certificate } = placement
    const isOwn = input.owned[link] !== undefined
    const conflict = conflictWith(placement, observed, input.owned, link)
    if (conflict === undefined) {
      return isOwn || !isSameText(stateAt(link, observed), certificate.pem) ? [placement] : []
    }
    problems.push(conflict)
    return whereItLies(placement, input, observed)
  }
  const installed = arranged(input, observed).flatMap(place)
  const { additions, keep } = write(installed, heldPaths(input), input, observed, new Set(), (placement) =>
    put(placement, SYSTEM_CERTS, placement.link, rootFile(placement.certificate.pem), observed),
  )
  return { changes: [...additions, ...removalsOf(input.owned, keep, observed)], problems }
}

function arranged({ desired, owned }: TargetInput, observed: ObservedSystemTrust): readonly Placed[] {
  const isFree = (fileName: string) =>
    [linkOf(fileName), sourceOf(fileName)].every((path) => observed.paths.get(path)?.kind === 'absent')
  const holdings = holdingsOf(owned, observed.paths, observed.layout)
  return arrange(placementsOf(desired), holdings, desired, isFree).map(placed)
}

/** A certificate whose new name is somebody else's stays under the name that it has from before, if it has one. */
function whereItLies(placement: Placed, { owned }: TargetInput, observed: ObservedSystemTrust): readonly Placed[] {
  const holdings = holdingsOf(owned, observed.paths, observed.layout)
  const held = [...holdings].find(([, { fingerprint }]) => fingerprint === placement.certificate.fingerprint)
  return held === undefined ? [] : [placed({ ...placement, fileName: held[0] })]
}

/**
 * File by file, each certificate with all that it needs before the next one: a reader meanwhile misses none that stays
 * declared.
 */
function write(
  installed: readonly Placed[],
  held: ReadonlySet<string>,
  { owned }: TargetInput,
  observed: ObservedSystemTrust,
  reserved: ReadonlySet<string>,
  filesOf: (placement: Placed) => readonly Change[],
): { readonly additions: readonly Change[]; readonly keep: ReadonlySet<string> } {
  const hashes = hashLinks(installed, new Set([...held, ...reserved]), owned, observed)
  const keep = new Set(held)
  const additions = installed.flatMap((placement) => {
    const hash = hashes.get(placement.certificate.fingerprint)
    for (const path of [placement.link, ...(observed.layout === 'debian' ? [placement.source] : [])]) keep.add(path)
    if (hash === undefined) return filesOf(placement)
    keep.add(hash)
    const to = posix.basename(placement.link)
    return [...filesOf(placement), ...put(placement, SYSTEM_CERTS, hash, { kind: 'link', to }, observed)]
  })
  return { additions, keep }
}

/** By fingerprint, the path of the hash link. */
function hashLinks(
  installed: readonly Placed[],
  held: ReadonlySet<string>,
  owned: AgentState['owned'],
  observed: ObservedSystemTrust,
): ReadonlyMap<string, string> {
  const byHash = Map.groupBy(installed, ({ hash }) => hash)
  const links = [...byHash].flatMap(([hash, placements]) => {
    if (hash === undefined) return []
    const numbers = numbersOf(
      placements.map(({ certificate }) => certificate.fingerprint),
      (number) => {
        const path = hashPath(hash, number)
        const isThere = stateAt(path, observed).kind !== 'absent'
        return {
          isFixed: isThere && (owned[path] === undefined || held.has(path)),
          fingerprint: observed.fingerprints.get(path),
        }
      },
    )
    return [...numbers].map(([fingerprint, number]) => [fingerprint, hashPath(hash, number)] as const)
  })
  return new Map(links)
}

/**
 * What our sources hold, as the bundle has it too, each with its path; of those that somebody removed, what the bundle
 * has of them.
 */
function textsOf(owned: AgentState['owned'], observed: ObservedSystemTrust): ReadonlyMap<string, string> {
  const theirs = new Set(
    observed.sources.flatMap(({ path, state }) =>
      owned[path] === undefined && state.kind === 'file' ? [state.bytes.toString('utf8')] : [],
    ),
  )
  const mine = ownedPaths(owned).filter((path) => path.startsWith(`${LOCAL_ANCHORS}/`))
  const present = mine.flatMap((path) => {
    const state = stateAt(path, observed)
    return state.kind === 'file' ? [[state.bytes.toString('utf8'), path] as const] : []
  })
  const lost = lostTexts(mine, owned, (path) => stateAt(path, observed), textOfBundle(observed).text)
  return new Map([...present, ...lost].filter(([text]) => !theirs.has(text)))
}

function stateAt(path: string, observed: ObservedSystemTrust): FileState {
  return stateIn(observed.paths, path)
}

function isSameText(state: FileState, text: string): boolean {
  return state.kind === 'file' && state.bytes.toString('utf8').trimEnd() === text.trimEnd()
}

/** A path that someone else made, with other content than ours, is left alone. */
function conflictWith(
  { anchor, certificate, link, source }: Placed,
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
  placement: Placed,
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

function linkDifference({ anchor }: Placed, kind: 'file' | 'link', isNew: boolean) {
  if (!isNew) return { drift: 'changed' as const, reason: 'it leads elsewhere' }
  return {
    drift: 'missing' as const,
    reason: kind === 'file' ? `trust anchor ${anchor}` : `link to trust anchor ${anchor}`,
  }
}

function owned(path: string, content: Extract<FileContent, { kind: 'file' | 'link' }>): OwnedPath {
  return { path, kind: 'whole', sha256: sha256(content.kind === 'file' ? content.bytes : content.to) }
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
