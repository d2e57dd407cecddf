// System stores that keep sources in one folder and a bundle made of them elsewhere: the RHEL and Azure Linux family
// (update-ca-trust), SUSE (update-ca-certificates) and Photon. The source goes where the distribution's own tool reads
// it, and into the bundle at once, so that programs trust it without that tool and a later run of it changes nothing
// that matters.

import { posix } from 'node:path'
import { type Problem, problem } from '../../model/errors.ts'
import type { Change } from '../../model/plan.ts'
import type { FileState } from '../../model/ports.ts'
import type { TargetPlan } from '../../model/target.ts'
import { difference, firstUnreadable, isFile, NOTHING_TO_DO, rootFile, sha256 } from '../files/files.ts'
import { outOfReach } from '../guards/out-of-reach.ts'
import { lostTexts } from './bundle.ts'
import { planCopies } from './copies.ts'
import { isDistrustAtWork } from './distrust.ts'
import { planBlocklist } from './distrust-families.ts'
import {
  type AnchorInput,
  type Family,
  type ObservedAnchorStore,
  ownedSources,
  type Source,
  sourcesOf,
  TARGET,
} from './families-observe.ts'

export function planAnchorStore(input: AnchorInput, observed: ObservedAnchorStore): TargetPlan {
  const { family, isWritable, bundle, sources } = observed
  const { enabled } = input.desired.targets.systemTrust
  if (family === undefined || bundle.kind !== 'file') return NOTHING_TO_DO
  const mine = minePaths(family, input.owned)
  const isDistrust = isDistrustAtWork(input)
  if (enabled === 'off' && mine.length === 0 && !isDistrust) return NOTHING_TO_DO
  const wanted = sourcesOf(family, input, sources)
  if (wanted.length === 0 && mine.length === 0 && !isDistrust) return NOTHING_TO_DO
  const unreadable = firstUnreadable(sources)
  if (unreadable !== undefined) {
    const text = `${unreadable}; the system store was left unchanged`
    return { changes: [], problems: [problem('NODE_FILE_UNREADABLE', text)] }
  }
  const where = `${family.bundle} or its sources`
  if (!isWritable && (enabled === 'on' || isDistrust)) {
    const why = enabled === 'on' ? 'targets.systemTrust is enabled' : 'certificates are to be distrusted'
    const text = `${where} cannot be written, but ${why}`
    return { changes: [], problems: [problem('TARGET_READ_ONLY', text)] }
  }
  const plan = planSources(input, family, observed, bundle)
  return isWritable ? plan : outOfReach(plan, input.owned, where)
}

function planSources(
  input: AnchorInput,
  family: Family,
  observed: ObservedAnchorStore,
  onDisk: BundleFile,
): TargetPlan {
  const { owned, desired } = input
  const { sources } = observed
  const wanted = sourcesOf(family, input, sources)
  const blocking = planBlocklist(input, observed, onDisk)
  const { bundle } = blocking
  const bundleText = bundle.bytes.toString('utf8')
  const ownPaths = ownedSources(family, owned)
  const lost = lostTexts(ownPaths, owned, (path) => sources.get(path), bundleText)
  const own = filesAt(ownPaths, sources)
  const ours = new Set([...own.map(({ bytes }) => bytes.toString('utf8')), ...lost.map(([pem]) => pem)])
  // In the bundle without us: what our own source has put there counts for nothing, it may be about to go.
  const isOthers = (pem: string) => !ours.has(pem) && bundleText.includes(pem.trimEnd())
  const puts = planPuts(family.sources === undefined ? [] : wanted, isOthers, owned, sources)

  const held = desired.anchors.filter(({ certificates }) => certificates.length === 0).map(({ name }) => name)
  const isHeld = (path: string) => held.includes(owned[path]?.subject ?? '')
  const mine = minePaths(family, owned)
  const keep = new Set([...mine.filter(isHeld), ...puts.installed.map(({ path }) => path)])
  const gone = planGone(
    mine.filter((path) => path !== family.bundle && !keep.has(path)),
    owned,
    sources,
  )
  // A file that is overwritten held a certificate too.
  const present = own
    .filter(({ path, bytes }) => sha256(bytes) === owned[path]?.sha256)
    .map(({ path, bytes }) => [bytes.toString('utf8'), path] as const)
  const removed = [...present, ...lost].flatMap(([text, path]) => (isHeld(path) ? [] : [text]))
  const inBundle = family.sources === undefined ? wanted : puts.installed
  const somethingStays = keep.size > 0 || inBundle.length > 0 || blocking.isInForce
  const edit = bundleChange(family, { onDisk, bundle }, inBundle, removed, input, somethingStays)
  const copies = planCopies(TARGET, observed.copies ?? [])
  return {
    changes: [...blocking.before, ...puts.changes, ...gone.changes, ...edit, ...copies.changes, ...blocking.after],
    problems: [...puts.problems, ...gone.problems, ...blocking.problems, ...copies.problems],
    ...(blocking.pending.length > 0 && { distrusts: blocking.pending }),
  }
}

type Sources = ObservedAnchorStore['sources']

/** `installed`: the sources that are there afterwards. */
function planPuts(
  wanted: readonly Source[],
  isOthers: (pem: string) => boolean,
  owned: AnchorInput['owned'],
  sources: Sources,
): TargetPlan & { readonly installed: readonly Source[] } {
  const changes: Change[] = []
  const problems: Problem[] = []
  const installed: Source[] = []
  for (const source of wanted) {
    const { path, anchor, certificate } = source
    const state = sources.get(path) ?? { kind: 'absent' as const }
    if (owned[path] === undefined && state.kind !== 'absent') {
      const isSame = state.kind === 'file' && state.bytes.toString('utf8').includes(certificate.pem.trimEnd())
      const text = `${path} exists and is not the agent's; anchor ${anchor} was not put there`
      if (!isSame) problems.push(problem('FILE_FOREIGN', text))
      continue
    }
    if (isOthers(certificate.pem)) continue
    installed.push(source)
    const after = rootFile(certificate.pem)
    if (isFile(state, after)) continue
    const action = state.kind === 'absent' ? 'create' : 'update'
    const about =
      state.kind === 'absent'
        ? { drift: 'missing' as const, reason: `trust anchor ${anchor}` }
        : difference(state, after)
    const owns = [{ path, kind: 'whole' as const, sha256: sha256(after.bytes) }]
    const folder = posix.dirname(path)
    changes.push({ target: TARGET, action, path, ...about, subject: anchor, folder, after, owns, forgets: [] })
  }
  return { changes, problems, installed }
}

/** A source that somebody has changed since stays, and is no longer ours. */
function planGone(paths: readonly string[], owned: AnchorInput['owned'], sources: Sources): TargetPlan {
  const changes: Change[] = []
  const problems: Problem[] = []
  for (const path of paths) {
    const state = sources.get(path) ?? { kind: 'absent' as const }
    const isOurs = state.kind === 'file' && sha256(state.bytes) === owned[path]?.sha256
    const after = isOurs || state.kind !== 'file' ? ({ kind: 'absent' } as const) : state
    if (!isOurs && state.kind === 'file')
      problems.push(problem('FILE_CHANGED_BY_OTHERS', `${path}: changed since the agent wrote it; left unchanged`))
    const subject = owned[path]?.subject ?? ''
    const reason = `anchor ${owned[path]?.subject} is no longer wanted here`
    const folder = posix.dirname(path)
    changes.push({ target: TARGET, action: 'delete', path, reason, subject, folder, after, owns: [], forgets: [path] })
  }
  return { changes, problems }
}

function filesAt(paths: readonly string[], sources: Sources) {
  return paths.flatMap((path) => {
    const state = sources.get(path)
    return state?.kind === 'file' ? [{ path, bytes: state.bytes }] : []
  })
}

function minePaths(family: Family, owned: AnchorInput['owned']): readonly string[] {
  return [...ownedSources(family, owned), ...(owned[family.bundle] === undefined ? [] : [family.bundle])]
}

type BundleFile = Extract<FileState, { kind: 'file' }>

function bundleChange(
  { bundle: path, sources }: Family,
  { onDisk, bundle }: { readonly onDisk: BundleFile; readonly bundle: BundleFile },
  wanted: readonly Source[],
  removed: readonly string[],
  { owned, desired }: AnchorInput,
  somethingStays: boolean,
): readonly Change[] {
  const before = onDisk.bytes.toString('utf8')
  const start = bundle.bytes.toString('utf8')
  let text = start
  // Without sources our blocks are known by their mark alone.
  const marked = sources === undefined ? markedBlocks(text) : []
  const isWanted = (pem: string) => wanted.some(({ certificate }) => certificate.pem === pem)
  const isHeld = desired.anchors.some(({ certificates }) => certificates.length === 0)
  for (const pem of [...removed, ...marked]) if (!isWanted(pem) && !isHeld) text = withoutBlock(text, pem)
  for (const { anchor, certificate } of wanted)
    if (!text.includes(certificate.pem.trimEnd()))
      text = `${text}${text === '' || text.endsWith('\n') ? '' : '\n'}\n${MARK}${anchor}\n${certificate.pem}`
  if (text === before) return []
  return [
    {
      target: TARGET,
      action: 'edit',
      path,
      drift: 'changed',
      reason: wanted.some(({ certificate }) => !before.includes(certificate.pem.trimEnd()))
        ? 'the bundle lacks declared anchors'
        : start === before
          ? 'the bundle holds anchors that are no longer declared'
          : 'certificates of the distribution are distrusted, or not any more',
      subject: '',
      folder: posix.dirname(path),
      after: { ...bundle, kind: 'file', bytes: Buffer.from(text) },
      owns: somethingStays ? [{ path, kind: 'edited', sha256: sha256(text) }] : [],
      forgets: somethingStays || owned[path] === undefined ? [] : [path],
    },
  ]
}

const MARK = '# registry-trust: '
const BLOCK =
  /\n?# registry-trust: [^\n]*\n(-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----\n)/g

function markedBlocks(text: string): readonly string[] {
  return [...text.matchAll(BLOCK)].map(([, pem = '']) => pem)
}

/**
 * The block with our mark, if it has one: the same certificate may stand there a second time, from the distribution.
 */
function withoutBlock(text: string, pem: string): string {
  const withoutMark = text.replace(BLOCK, (whole, block: string) => (block === pem ? '' : whole))
  return withoutMark === text ? text.replace(pem, '') : withoutMark
}
