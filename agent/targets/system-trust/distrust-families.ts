// Certificates of the distribution that the node should not trust, where the store is made of folders: a copy in the
// blocklist folder, which update-ca-trust(8) of RHEL and update-ca-certificates(8) of SUSE leave out of all that they
// make, and out of the bundle at once. Pure.
import { posix } from 'node:path'
import { type Problem, problem } from '../../model/errors.ts'
import type { Change } from '../../model/plan.ts'
import type { FileState } from '../../model/ports.ts'
import { difference, isFile, rootFile, sha256 } from '../files/files.ts'
import { fingerprintOf } from './bundle.ts'
import { distrustedNow, distrustedPaths } from './distrust.ts'
import { type AnchorInput, type ObservedAnchorStore, TARGET } from './families-observe.ts'

export type BlocklistPlan = {
  /** The bundle as it will be, for whatever else is planned in it. */
  readonly bundle: Extract<FileState, { kind: 'file' }>
  readonly before: readonly Change[]
  readonly after: readonly Change[]
  readonly isInForce: boolean
  readonly pending: readonly string[]
  readonly problems: readonly Problem[]
}

export function planBlocklist(
  input: AnchorInput,
  observed: ObservedAnchorStore,
  bundle: Extract<FileState, { kind: 'file' }>,
): BlocklistPlan {
  const nothing = { bundle, before: [], after: [], isInForce: false, pending: [], problems: [] }
  const wanted = distrustedNow(input)
  const owned = distrustedPaths(input.owned)
  if (wanted.size === 0 && owned.length === 0) return nothing
  const { blocklist, blocked = new Map<string, FileState>(), original = '' } = observed
  if (blocklist === undefined) {
    const text = `distrust was not applied: ${observed.family?.bundle ?? 'the store'} has no folder for certificates that are not to be trusted`
    return { ...nothing, isInForce: owned.length > 0, problems: [problem('DISTRUST_NOT_POSSIBLE', text)] }
  }
  const chunks = chunksOf(bundle.bytes.toString('utf8'))
  const isOut = ({ fingerprint }: Chunk) => fingerprint !== undefined && wanted.has(fingerprint)
  const gone = chunks.filter(isOut)
  const copies = [...wanted].flatMap((fingerprint) => {
    const path = blocklistPath(blocklist, fingerprint)
    const state = blocked.get(path) ?? { kind: 'absent' as const }
    const pem = gone.find((chunk) => chunk.fingerprint === fingerprint)?.pem
    return pem === undefined ? [] : putCopy(path, fingerprint, pem, state)
  })
  const left = owned.filter((path) => !wanted.has(input.owned[path]?.subject ?? ''))
  const returning = left.flatMap((path) => input.owned[path]?.subject ?? [])
  const text = restored(
    chunks.filter((chunk) => !isOut(chunk)),
    chunksOf(original),
    returning,
    left.flatMap((path) => textOf(blocked.get(path))),
  )
  return {
    bundle: { ...bundle, bytes: Buffer.from(text) },
    before: copies,
    after: left.map((path) => removal(path, input.owned[path]?.subject ?? '', blocklist, blocked.get(path), input)),
    isInForce: owned.length > left.length || copies.length > 0,
    pending: [...new Set(gone.flatMap(({ fingerprint }) => fingerprint ?? []))],
    problems: [],
  }
}

function blocklistPath(folder: string, fingerprint: string): string {
  return `${folder}/registry-trust-${fingerprint.slice('sha256:'.length, 'sha256:'.length + 32)}.pem`
}

function putCopy(path: string, fingerprint: string, pem: string, state: FileState): readonly Change[] {
  const content = rootFile(pem)
  if (isFile(state, content)) return []
  return [
    {
      target: TARGET,
      action: state.kind === 'absent' ? 'create' : 'update',
      path,
      ...(state.kind === 'absent'
        ? { drift: 'missing' as const, reason: 'the certificate is distrusted' }
        : difference(state, content)),
      subject: fingerprint,
      folder: posix.dirname(path),
      after: content,
      owns: [{ path, kind: 'whole', sha256: sha256(content.bytes) }],
      forgets: [],
    },
  ]
}

function removal(
  path: string,
  fingerprint: string,
  folder: string,
  state: FileState = { kind: 'absent' },
  { owned }: AnchorInput,
): Change {
  const isOurs = state.kind !== 'file' || sha256(state.bytes) === owned[path]?.sha256
  return {
    target: TARGET,
    action: 'delete',
    path,
    reason: isOurs ? 'the certificate is not distrusted any more' : 'it is no longer managed by the agent',
    subject: fingerprint,
    folder,
    after: isOurs || state.kind !== 'file' ? { kind: 'absent' } : state,
    owns: [],
    forgets: [path],
  }
}

/** One certificate of a bundle with the comments that stand before it. */
type Chunk = { readonly text: string; readonly pem?: string; readonly fingerprint?: string }

function chunksOf(bundle: string): readonly Chunk[] {
  const chunks: Chunk[] = []
  let at = 0
  for (const found of bundle.matchAll(
    /-----BEGIN (?:TRUSTED )?CERTIFICATE-----[^-]*-----END (?:TRUSTED )?CERTIFICATE-----\n?/g,
  )) {
    const end = found.index + found[0].length
    const [pem] = found
    const fingerprint = fingerprintOf(pem)
    chunks.push({ text: bundle.slice(at, end), pem, ...(fingerprint !== undefined && { fingerprint }) })
    at = end
  }
  return at === bundle.length ? chunks : [...chunks, { text: bundle.slice(at) }]
}

/** Each returns to where it stood in the original: before the next one, or after the one before, that is still there. */
function restored(
  chunks: readonly Chunk[],
  original: readonly Chunk[],
  fingerprints: readonly string[],
  copies: readonly string[],
): string {
  const result = [...chunks]
  const isThere = (fingerprint: string | undefined) => result.some((one) => one.fingerprint === fingerprint)
  for (const fingerprint of fingerprints.toReversed()) {
    if (isThere(fingerprint)) continue
    const at = original.findIndex((one) => one.fingerprint === fingerprint)
    const copy = copies.find((pem) => fingerprintOf(pem) === fingerprint)
    const chunk = original[at] ?? (copy === undefined ? undefined : { text: copy, fingerprint })
    if (chunk === undefined) continue
    const isStill = ({ fingerprint: one }: Chunk) => one !== undefined && isThere(one)
    const next = at < 0 ? undefined : original.slice(at + 1).find(isStill)
    const previous = at < 0 ? undefined : original.slice(0, at).findLast(isStill)
    const placeOf = (chunk: Chunk) => result.findIndex((one) => one.fingerprint === chunk.fingerprint)
    const place = next !== undefined ? placeOf(next) : previous !== undefined ? placeOf(previous) + 1 : result.length
    result.splice(place, 0, chunk)
  }
  return result.map(({ text }) => text).join('')
}

function textOf(state: FileState | undefined): readonly string[] {
  return state?.kind === 'file' ? [state.bytes.toString('utf8')] : []
}
