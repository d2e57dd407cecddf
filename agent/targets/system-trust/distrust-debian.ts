// Certificates of the distribution that the node should not trust, as `update-ca-certificates` does it: "!" before its
// line in /etc/ca-certificates.conf, out of the bundle, without link and hash links. A later run of the tool changes
// nothing, and without the agent everything is as before. Pure.
import { posix } from 'node:path'
import { type Problem, problem } from '../../model/errors.ts'
import type { Change } from '../../model/plan.ts'
import type { FileState } from '../../model/ports.ts'
import type { TargetInput } from '../../model/target.ts'
import { sha256 } from '../files/files.ts'
import { hashPath, type ObservedSystemTrust, SYSTEM_CERTS, stateIn, TARGET } from './debian-observe.ts'
import { countOf, distrustedNow, distrustedPaths } from './distrust.ts'
import { CONF, confLines, type ObservedDistrust, SHIPPED, type Shipped } from './distrust-observe.ts'
import { MOST_HASH_LINKS } from './hash-links.ts'

export type DistrustPlan = {
  /** The store as it will be, for whatever else is planned in it. */
  readonly view: ObservedSystemTrust
  readonly before: readonly Change[]
  readonly after: readonly Change[]
  /** Something of it stays on the node. */
  readonly isInForce: boolean
  /** Hash links that are the distribution's. */
  readonly reserved: ReadonlySet<string>
  /** Fingerprints of what is trusted now and will not be. */
  readonly pending: readonly string[]
  readonly problems: readonly Problem[]
}

export function planDistrust(input: TargetInput, observed: ObservedSystemTrust): DistrustPlan {
  const nothing = { view: observed, before: [], after: [], isInForce: false, reserved: new Set<string>(), pending: [] }
  const { distrust } = observed
  if (distrust === undefined) return { ...nothing, problems: [] }
  const wanted = distrustedNow(input)
  const { conf, isConfWritable, shipped } = distrust
  const isInForce = distrustedPaths(input.owned).length > 0
  if (wanted.size === 0 && !isInForce) return { ...nothing, problems: [] }
  if (observed.layout !== 'debian' || conf.kind !== 'file') {
    const text = `distrust was not applied: ${CONF}, by which update-ca-certificates leaves out certificates, is not there`
    return { ...nothing, isInForce, problems: [problem('DISTRUST_NOT_POSSIBLE', text)] }
  }
  const out = shipped.filter(({ fingerprint }) => wanted.has(fingerprint))
  const back = shipped.filter(({ link, fingerprint }) => !wanted.has(fingerprint) && isTakenOut(link, input))
  const turned = turnLines(conf, out, back)
  if (turned !== undefined && !isConfWritable) {
    const text = `distrust was not applied: ${CONF} has to change, and /etc is not writable`
    return { ...nothing, isInForce, problems: [problem('TARGET_READ_ONLY', text)] }
  }
  const bundle = bundleAfter(out, back, distrust, observed)
  const pending = out.filter((one) => isTrusted(one, observed)).map(({ fingerprint }) => fingerprint)
  const links = linksOf(out, back, input, observed)
  const staysInForce = out.some(({ link }) => isTakenOut(link, input)) || pending.length > 0
  return {
    view: { ...observed, bundle, ...viewOf(links, observed) },
    before: turned === undefined ? [] : [confChange(turned, conf, staysInForce, input)],
    after: links.flatMap(({ change }) => change),
    isInForce: staysInForce,
    reserved: new Set(links.flatMap(({ path, wanted }) => (wanted.kind === 'link' ? [path] : []))),
    pending,
    problems: stillLocal(out, observed),
  }
}

function isTakenOut(link: string, { owned }: TargetInput): boolean {
  return owned[link] !== undefined && distrustedPaths(owned).includes(link)
}

/** The text with "!" before the lines of `out`, and without it before those of `back`; undefined: as it is. */
function turnLines(
  conf: Extract<FileState, { kind: 'file' }>,
  out: readonly Shipped[],
  back: readonly Shipped[],
): string | undefined {
  const lines = [...confLines(conf.bytes.toString('utf8'))]
  for (const { name, line } of out) lines[line] = `!${name}`
  for (const { name, line } of back) lines[line] = name
  const text = lines.join('\n')
  return text === conf.bytes.toString('utf8') ? undefined : text
}

function confChange(
  text: string,
  conf: Extract<FileState, { kind: 'file' }>,
  staysInForce: boolean,
  { owned }: TargetInput,
): Change {
  return {
    target: TARGET,
    action: 'edit',
    path: CONF,
    reason: staysInForce ? 'certificates of the distribution are not to be trusted' : 'nothing is distrusted any more',
    subject: '',
    folder: posix.dirname(CONF),
    after: { ...conf, kind: 'file', bytes: Buffer.from(text) },
    owns: staysInForce ? [{ path: CONF, kind: 'edited', sha256: sha256(text) }] : [],
    forgets: staysInForce || owned[CONF] === undefined ? [] : [CONF],
  }
}

function bundleAfter(
  out: readonly Shipped[],
  back: readonly Shipped[],
  { shipped }: ObservedDistrust,
  { bundle, sources }: ObservedSystemTrust,
): FileState {
  if (bundle.kind !== 'file') return bundle
  const locals = sources.flatMap(({ state }) => (state.kind === 'file' ? [state.bytes.toString('utf8')] : []))
  const isIn = (text: string, { pem }: Shipped) => countOf(text, pem) > locals.filter((one) => one === pem).length
  let text = bundle.bytes.toString('utf8')
  for (const one of out) if (isIn(text, one)) text = text.replace(one.pem, () => '')
  const stay = shipped.filter((one) => !out.includes(one) && (!one.isOff || back.includes(one)))
  for (const one of back.toSorted((a, b) => b.line - a.line)) {
    if (isIn(text, one)) continue
    const later = stay.filter(({ line }) => line > one.line).map(({ pem }) => text.indexOf(pem))
    const next = later.find((at) => at >= 0) ?? firstOf(locals.map((local) => text.indexOf(local)))
    text = next === undefined ? `${text}${one.pem}` : text.slice(0, next) + one.pem + text.slice(next)
  }
  return { ...bundle, bytes: Buffer.from(text) }
}

function firstOf(places: readonly number[]): number | undefined {
  const found = places.filter((at) => at >= 0)
  return found.length === 0 ? undefined : Math.min(...found)
}

function isTrusted({ pem, link, name }: Shipped, { bundle, paths }: ObservedSystemTrust): boolean {
  const state = stateIn(paths, link)
  if (state.kind === 'link' && state.to === `${SHIPPED}/${name}`) return true
  return bundle.kind === 'file' && bundle.bytes.includes(pem)
}

/** A local anchor is the node's own word against the distribution's; `update-ca-certificates` cannot leave it out. */
function stillLocal(out: readonly Shipped[], { sources }: ObservedSystemTrust): readonly Problem[] {
  return out.flatMap(({ fingerprint, pem }) =>
    sources.flatMap(({ path, state }) => {
      if (state.kind !== 'file' || state.bytes.toString('utf8').trimEnd() !== pem.trimEnd()) return []
      const text = `${fingerprint} stays trusted by ${path}, a local anchor of this node that is not the agent's`
      return [problem('DISTRUST_NOT_POSSIBLE', text)]
    }),
  )
}

type LinkPlan = { readonly path: string; readonly wanted: FileState; readonly change: readonly Change[] }

/** First what is put, then what is taken away, so that no other certificate is missed in between. */
function linksOf(
  out: readonly Shipped[],
  back: readonly Shipped[],
  input: TargetInput,
  observed: ObservedSystemTrust,
): readonly LinkPlan[] {
  const named = [
    ...back.map((one) => linkPlan(one.link, one, beforeOf(one.link, input), true, input, observed)),
    ...out
      .filter((one) => isOfShipped(stateIn(observed.paths, one.link), one) || isTakenOut(one.link, input))
      .map((one) => linkPlan(one.link, one, { kind: 'absent' }, false, input, observed)),
  ]
  const byHash = Map.groupBy([...out, ...back], ({ hash }) => hash)
  const hashed = [...byHash].flatMap(([hash, members]) =>
    hash === undefined ? [] : planHash(hash, members, new Set(out.map(({ link }) => link)), back, input, observed),
  )
  const rank = ({ wanted }: LinkPlan) => (wanted.kind === 'absent' ? 1 : 0)
  return [...named, ...hashed].toSorted((a, b) => rank(a) - rank(b))
}

function isOfShipped(state: FileState, { name }: Shipped): boolean {
  return state.kind === 'link' && state.to === `${SHIPPED}/${name}`
}

function beforeOf(path: string, { owned }: TargetInput): FileState {
  const before = owned[path]?.before
  return before?.kind === 'link' ? before : { kind: 'absent' }
}

/** Numbers without a gap, since OpenSSL stops at the first that is not there; who has one that is left keeps it. */
function planHash(
  hash: string,
  members: readonly Shipped[],
  gone: ReadonlySet<string>,
  back: readonly Shipped[],
  input: TargetInput,
  observed: ObservedSystemTrust,
): readonly LinkPlan[] {
  const numbers = Array.from({ length: MOST_HASH_LINKS }, (_, number) => hashPath(hash, number))
  const original = numbers.map((path) =>
    input.owned[path] === undefined ? stateIn(observed.paths, path) : beforeOf(path, input),
  )
  const isGone = (state: FileState) => state.kind === 'link' && gone.has(`${SYSTEM_CERTS}/${state.to}`)
  const stay = original.filter((state) => state.kind === 'link' && !isGone(state))
  for (const { link } of back) {
    const to = posix.basename(link)
    if (members.some((one) => one.link === link) && !stay.some((state) => state.kind === 'link' && state.to === to))
      stay.push({ kind: 'link', to })
  }
  const isWhole = !original.some(isGone) && stay.every((state) => original.includes(state))
  const wanted = isWhole ? original : compacted(original, stay)
  const [first] = members
  return first === undefined
    ? []
    : numbers.map((path, number) =>
        linkPlan(path, first, wanted[number] ?? ABSENT, isSameLink(wanted[number], original[number]), input, observed),
      )
}

const ABSENT = { kind: 'absent' } as const

function isSameLink(left: FileState = ABSENT, right: FileState = ABSENT): boolean {
  return left.kind === right.kind && (left.kind !== 'link' || (right.kind === 'link' && left.to === right.to))
}

function compacted(original: readonly FileState[], stay: readonly FileState[]): readonly FileState[] {
  const kept = original.map((state, number) => (number < stay.length && stay.includes(state) ? state : undefined))
  const moved = stay.filter((state) => !kept.includes(state))
  return kept.map((state, number) => state ?? (number < stay.length ? moved.shift() : undefined) ?? { kind: 'absent' })
}

function linkPlan(
  path: string,
  { fingerprint, name }: Shipped,
  wanted: FileState,
  isAsBefore: boolean,
  { owned }: TargetInput,
  observed: ObservedSystemTrust,
): LinkPlan {
  const now = stateIn(observed.paths, path)
  const isMine = owned[path] !== undefined && distrustedPaths(owned).includes(path)
  const isOther = owned[path] !== undefined && !isMine
  const isSame = isSameLink(wanted, now)
  const isForeign = now.kind !== 'link' && now.kind !== 'absent'
  const isSettled = isSame && (isAsBefore ? !isMine : isMine || wanted.kind === 'link')
  // What lies at a number without being the distribution's is planned with the anchors.
  if (isForeign || isSettled || (isOther && wanted.kind !== 'link'))
    return { path, wanted: isForeign ? now : wanted, change: [] }
  const after = wanted.kind === 'link' ? wanted : ({ kind: 'absent' } as const)
  const change: Change = {
    target: TARGET,
    action: wanted.kind === 'link' ? 'link' : 'delete',
    path,
    reason: isAsBefore ? `${name} is not distrusted any more` : `${name} is distrusted`,
    subject: fingerprint,
    folder: SYSTEM_CERTS,
    after,
    owns: isAsBefore ? [] : [{ path, kind: 'whole', sha256: after.kind === 'link' ? sha256(after.to) : '' }],
    forgets: isAsBefore && owned[path] !== undefined ? [path] : [],
  }
  return { path, wanted, change: [change] }
}

/** What the distribution's links will be; those of the agent's anchors stay as they are seen. */
function viewOf(
  links: readonly LinkPlan[],
  { paths, fingerprints }: ObservedSystemTrust,
): Pick<ObservedSystemTrust, 'paths' | 'fingerprints'> {
  const changed = links.filter(({ change }) => change.length > 0)
  const byTarget = new Map(
    [...paths].flatMap(([path, state]) => (state.kind === 'link' ? [[state.to, fingerprints.get(path)] as const] : [])),
  )
  return {
    paths: new Map([...paths, ...changed.map(({ path, wanted }) => [path, wanted] as const)]),
    fingerprints: new Map([
      ...fingerprints,
      ...changed.map(
        ({ path, wanted }) => [path, wanted.kind === 'link' ? byTarget.get(wanted.to) : undefined] as const,
      ),
    ]),
  }
}
