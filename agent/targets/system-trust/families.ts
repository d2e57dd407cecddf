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
  const { sources } = observed
  const mine = minePaths(family, input.owned)
  const wanted = sourcesOf(family, input, sources)
  const blocking = planBlocklist(input, observed, onDisk)
  const { bundle } = blocking
  const held = input.desired.anchors.filter(({ certificates }) => certificates.length === 0).map(({ name }) => name)
  const problems: Problem[] = []
  const changes: Change[] = []
  const keep = new Set(mine.filter((path) => held.includes(input.owned[path]?.subject ?? '')))
  const installed: Source[] = []
  const bundleText = bundle.bytes.toString('utf8')
  const ownSources = ownedSources(family, input.owned)
  const lost = lostTexts(ownSources, input.owned, (path) => sources.get(path), bundleText)
  const ours = new Set([
    ...ownSources.flatMap((path) => {
      const state = sources.get(path)
      return state?.kind === 'file' ? [state.bytes.toString('utf8')] : []
    }),
    ...lost.map(([pem]) => pem),
  ])
  for (const source of family.sources === undefined ? [] : wanted) {
    const state = sources.get(source.path) ?? { kind: 'absent' as const }
    const content = rootFile(source.certificate.pem)
    if (input.owned[source.path] === undefined && state.kind !== 'absent') {
      const isSame = state.kind === 'file' && state.bytes.toString('utf8').includes(source.certificate.pem.trimEnd())
      if (!isSame)
        problems.push(
          problem(
            'FILE_FOREIGN',
            `${source.path} exists and is not the agent's; anchor ${source.anchor} was not put there`,
          ),
        )
      continue
    }
    // In the bundle without us: what our own source has put there counts for nothing, it may be about to go.
    if (!ours.has(source.certificate.pem) && bundleText.includes(source.certificate.pem.trimEnd())) continue
    installed.push(source)
    keep.add(source.path)
    if (isFile(state, content)) continue
    const action = state.kind === 'absent' ? 'create' : 'update'
    const about =
      state.kind === 'absent'
        ? { drift: 'missing' as const, reason: `trust anchor ${source.anchor}` }
        : difference(state, content)
    const owns = [{ path: source.path, kind: 'whole' as const, sha256: sha256(content.bytes) }]
    changes.push({
      target: TARGET,
      action,
      path: source.path,
      ...about,
      subject: source.anchor,
      folder: posix.dirname(source.path),
      after: content,
      owns,
      forgets: [],
    })
  }
  const inBundle = family.sources === undefined ? wanted : installed
  const gone = mine.filter((path) => path !== family.bundle && !keep.has(path))
  // A file that is overwritten held a certificate too.
  const isHeld = (path: string) => held.includes(input.owned[path]?.subject ?? '')
  const present = ownSources.flatMap((path) => {
    const state = sources.get(path)
    const isOurs = state?.kind === 'file' && sha256(state.bytes) === input.owned[path]?.sha256
    return isOurs ? [[state.bytes.toString('utf8'), path] as const] : []
  })
  const removed = [...present, ...lost].flatMap(([text, path]) => (isHeld(path) ? [] : [text]))
  for (const path of gone) {
    const state = sources.get(path) ?? { kind: 'absent' as const }
    const isOurs = state.kind === 'file' && sha256(state.bytes) === input.owned[path]?.sha256
    const after = isOurs || state.kind !== 'file' ? ({ kind: 'absent' } as const) : state
    if (!isOurs && state.kind === 'file')
      problems.push(problem('FILE_CHANGED_BY_OTHERS', `${path}: changed since the agent wrote it; left unchanged`))
    const reason = `anchor ${input.owned[path]?.subject} is no longer wanted here`
    changes.push({
      target: TARGET,
      action: 'delete',
      path,
      reason,
      subject: input.owned[path]?.subject ?? '',
      folder: posix.dirname(path),
      after,
      owns: [],
      forgets: [path],
    })
  }
  const somethingStays = keep.size > 0 || inBundle.length > 0 || blocking.isInForce
  const edit = bundleChange(family, { onDisk, bundle }, inBundle, removed, input, somethingStays)
  const copies = planCopies(TARGET, observed.copies ?? [])
  return {
    changes: [...blocking.before, ...changes, ...edit, ...copies.changes, ...blocking.after],
    problems: [...problems, ...blocking.problems, ...copies.problems],
    ...(blocking.pending.length > 0 && { distrusts: blocking.pending }),
  }
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
