// Declared anchors → trust anchors with certificates. A file that is missing or broken never spoils the configuration:
// that anchor is held (no certificates, with the reason), and only the registries that use it are affected.
import { posix } from 'node:path'
import type { AnchorScope, Certificate, Policy, TrustAnchor } from '../../model/desired-state.ts'
import { type Problem, problem } from '../../model/errors.ts'
import { Secret } from '../../model/secret.ts'
import { judgeCertificates } from '../../pki/anchor/judge.ts'
import type { Decoded, DecodeOptions } from '../../pki/decode/decode.ts'
import type { ConfigFile } from '../reading/config-file.ts'
import type { Declarations, DeclaredAnchor, DeclaredRegistry } from '../reading/declared.ts'
import type { FoundInput, InputLookup } from '../reading/input-lookup.ts'
import { type Place, placeText, type Report } from '../reading/report.ts'

export type Decoder = (bytes: Buffer, options: DecodeOptions) => Decoded

export type AnchorOptions = {
  readonly now: number
  readonly minRsaBits: number
  readonly decode: Decoder
  readonly onStep: (path: string) => void
  /** Files that are not decoded because that did harm before, and what it was. */
  readonly harmful: ReadonlyMap<string, string>
  readonly policy: Pick<Policy, 'allowedAnchors' | 'maxAnchors'>
}

export type LoadedAnchors = {
  readonly anchors: readonly TrustAnchor[]
  /** The anchors of each declared registry; its `ca:` has become a name. */
  readonly namesOf: ReadonlyMap<DeclaredRegistry, readonly string[]>
  /** Files that were read. */
  readonly sources: readonly string[]
}

type Loaded = {
  readonly anchor: TrustAnchor
  /** Where its file is or would be; absent for an inline anchor. */
  readonly path?: string
  readonly wasFound?: boolean
  readonly declared?: DeclaredAnchor
  /** The first registry whose `ca` it is. */
  readonly user?: DeclaredRegistry
  /** Where the password of its store is, when it was found. */
  readonly passwordPath?: string
}

export async function loadAnchors(
  declarations: Declarations,
  lookup: InputLookup,
  options: AnchorOptions,
  report: Report,
): Promise<LoadedAnchors> {
  const named: Loaded[] = []
  for (const declared of declarations.anchors) named.push(await loadNamed(declared, lookup, options))
  const byName = mergeByName(named.map(scoped), report)
  const unnamed = await loadUnnamed(declarations.registries, named, new Set(byName.keys()), lookup, options)
  const namesOf = new Map(
    declarations.registries.map((registry) => {
      const ca = unnamed.nameOf.get(registry)
      return [registry, ca === undefined ? (registry.entry.anchors ?? []) : [ca]] as const
    }),
  )
  const all = [...named, ...unnamed.loaded]
  refuseTooMany([...byName.values(), ...unnamed.loaded], options.policy.maxAnchors, report)
  const sources = all
    .flatMap(({ path, wasFound, passwordPath }) => [wasFound ? path : undefined, passwordPath])
    .filter((path) => path !== undefined)
  return {
    anchors: [...inFileOrder([...byName.values()]), ...unnamed.loaded].map(({ anchor }) => anchor),
    namesOf,
    sources: [...new Set(sources)],
  }
}

/** Which author comes first in a conflict changes with time; what is written to the node must not. */
function inFileOrder(loaded: readonly Loaded[]): readonly Loaded[] {
  const order = ({ declared }: Loaded) => declared?.place.order ?? 0
  return loaded.toSorted((left, right) => order(left) - order(right))
}

async function loadNamed(declared: DeclaredAnchor, lookup: InputLookup, options: AnchorOptions): Promise<Loaded> {
  const { name, entry, file, pointer } = declared
  const judging = { ...options, pins: entry.pins?.map(normalizePin) }
  if (entry.file !== undefined) {
    const found = await lookup.findCertificates(entry.file, file)
    const where = {
      place: file.place(`${pointer}/file`, 'value'),
      subject: file.subject(`${pointer}/file`),
      name: entry.file,
    }
    const opened = await loadPassword(declared, lookup)
    if (opened !== undefined && 'code' in opened) {
      return { anchor: { name, source: found.path, certificates: [], problems: [opened] }, path: found.path, declared }
    }
    const loaded = await fromFile(name, found, where, lookup, { ...judging, password: opened?.password })
    return { ...loaded, declared, ...(opened === undefined ? {} : { passwordPath: opened.path }) }
  }
  const source = `${placeText(file.place(`${pointer}/pem`, 'value'))} (inline)`
  return { anchor: fromBytes(name, source, Buffer.from(entry.pem ?? '', 'utf8'), judging), declared }
}

const PASSWORD_MAX_BYTES = 4096

/** The first line of the file, as `openssl -passin file:` reads it; nothing of it is ever repeated. */
async function loadPassword(
  { entry, file, pointer }: DeclaredAnchor,
  lookup: InputLookup,
): Promise<{ readonly password: Secret; readonly path: string } | Problem | undefined> {
  const { passwordFile } = entry
  if (passwordFile === undefined) return undefined
  const { path, input, lookedIn } = await lookup.find(passwordFile, file)
  const at = `${placeText(file.place(`${pointer}/passwordFile`, 'value'))}: ${file.subject(`${pointer}/passwordFile`)}`
  if (input.kind === 'absent') {
    return problem('ANCHOR_MISSING', `${at} names ${passwordFile}, which is not in ${lookedIn.join(' nor in ')}`)
  }
  if (input.kind !== 'file' || input.bytes.length > PASSWORD_MAX_BYTES) {
    return problem(
      'ANCHOR_UNREADABLE',
      `${at} names ${path}, which is not a readable file of at most ${PASSWORD_MAX_BYTES} bytes`,
    )
  }
  const [line = ''] = input.bytes.toString('utf8').split(/\r?\n/, 1)
  return { password: new Secret(line), path }
}

/** `sha256:AA:BB…`, as openssl prints it, is the same pin as `sha256:aabb…`. */
export function normalizePin(pin: string): string {
  return `sha256:${pin.slice('sha256:'.length).replaceAll(':', '').toLowerCase()}`
}

type Where = { readonly place: Place; readonly subject: string; readonly name: string }

type Judging = AnchorOptions & {
  readonly pins?: readonly string[] | undefined
  readonly password?: Secret | undefined
}

async function fromFile(
  name: string,
  found: FoundInput,
  where: Where,
  lookup: InputLookup,
  judging: Judging,
): Promise<Loaded> {
  const { path, input } = found
  const held = (found: Problem) => ({
    anchor: { name, source: path, certificates: [], problems: [found] },
    path,
    wasFound: input.kind !== 'absent',
  })
  const at = `${placeText(where.place)}: ${where.subject}`
  const harm = judging.harmful.get(path)
  if (harm !== undefined) return held(problem('ANCHOR_TOO_COSTLY', `${at} names ${path}, which is not used: ${harm}`))
  switch (input.kind) {
    case 'file':
      judging.onStep(path)
      return { anchor: fromBytes(name, path, input.bytes, judging), path, wasFound: true }
    case 'absent': {
      const folders = found.lookedIn.join(' nor in ')
      const hint = await lookup.suggest(found)
      return held(problem('ANCHOR_MISSING', `${at} names ${where.name}, which is not in ${folders}${hint}`))
    }
    case 'folder':
      return held(problem('ANCHOR_UNREADABLE', `${at} names ${path}, which is a folder without ca.crt: name the file`))
    case 'too-large':
      return held(problem('ANCHOR_TOO_LARGE', `${at} names ${path}, which has ${input.bytes} bytes`))
    case 'unreadable':
      return held(problem('ANCHOR_UNREADABLE', `${at} names ${path}, which cannot be read: ${input.reason}`))
  }
}

function fromBytes(name: string, source: string, bytes: Buffer, judging: Judging): TrustAnchor {
  const decoded = judging.decode(bytes, { password: judging.password })
  const judged = judgeCertificates(decoded.certificates, judging)
  const problems = [...decoded.problems, ...judged.problems].map((found) =>
    problem(found.code, `${source}: ${found.message}`),
  )
  return onlyAllowed({ name, source, certificates: judged.certificates, problems }, judging.policy.allowedAnchors)
}

function onlyAllowed(anchor: TrustAnchor, allowed: readonly string[] | undefined): TrustAnchor {
  if (allowed === undefined) return anchor
  const known = new Set(allowed.map(normalizePin))
  const certificates = anchor.certificates.filter(({ fingerprint }) => known.has(fingerprint))
  const others = anchor.certificates.filter(({ fingerprint }) => !known.has(fingerprint))
  const problems = others.map(({ subject, fingerprint }) =>
    problem('ANCHOR_FORBIDDEN', `${anchor.source}: ${subject} (${fingerprint}) is not in policy.allowedAnchors`),
  )
  return { ...anchor, certificates, problems: [...anchor.problems, ...problems] }
}

/** Those of fragments are the ones too many: they cannot push out what trust.yaml declares. */
function refuseTooMany(all: readonly Loaded[], most = Number.POSITIVE_INFINITY, report: Report): void {
  const placed = all.flatMap(({ declared, user }) => declared ?? user ?? [])
  const isOther = ({ file }: { readonly file: ConfigFile }) => (file.isFragment ? 1 : 0)
  const beyond = placed.toSorted((left, right) => isOther(left) - isOther(right))[most]
  if (beyond === undefined) return
  const text = `is the first of ${placed.length - most} anchors too many: policy.maxAnchors allows ${most}`
  report.add('ANCHOR_FORBIDDEN', beyond.place, beyond.file.subject(beyond.pointer), text)
}

function scoped(loaded: Loaded): Loaded {
  const { declared } = loaded
  const when = declared?.entry.when
  const anchor = when === undefined ? loaded.anchor : { ...loaded.anchor, when }
  const scope = declared?.entry.scope ?? scopeOf(declared?.file)
  return { ...loaded, anchor: scope === 'system' ? anchor : { ...anchor, scope } }
}

function scopeOf(file: ConfigFile | undefined): AnchorScope {
  return file?.isFragment === true ? 'registries' : 'system'
}

/** Two files may declare the same anchor if it is the same; the one that can be used is used. */
function mergeByName(named: readonly Loaded[], report: Report): ReadonlyMap<string, Loaded> {
  const byName = new Map<string, Loaded>()
  for (const loaded of named) {
    const { anchor, declared } = loaded
    const earlier = byName.get(anchor.name)
    const isFilledIn = earlier !== undefined && !isUsable(earlier) && declared?.file !== earlier.declared?.file
    if (earlier === undefined) {
      byName.set(anchor.name, loaded)
    } else if (isFilledIn && declared?.file.isFragment === true) {
    } else if (isAnother(earlier, loaded)) {
      const other = earlier.declared === undefined ? '' : placeText(earlier.declared.place)
      const text = `is another anchor than the one of the same name at ${other}`
      if (declared !== undefined)
        report.add('CONFIG_CONFLICT', declared.place, declared.file.subject(declared.pointer), text)
    } else {
      const { certificates, source } = isUsable(earlier) ? earlier.anchor : anchor
      const problems = [...earlier.anchor.problems, ...anchor.problems]
      byName.set(anchor.name, { ...earlier, anchor: { ...earlier.anchor, source, certificates, problems } })
    }
  }
  return byName
}

function isAnother(earlier: Loaded, later: Loaded): boolean {
  if (JSON.stringify(earlier.anchor.when) !== JSON.stringify(later.anchor.when)) return true
  return isUsable(earlier) && isUsable(later) && !sameContent(earlier.anchor, later.anchor)
}

function isUsable({ anchor }: Loaded): boolean {
  return anchor.certificates.length > 0
}

function sameContent(left: TrustAnchor, right: TrustAnchor): boolean {
  const fingerprints = ({ certificates }: TrustAnchor) => certificates.map((one: Certificate) => one.fingerprint).sort()
  return fingerprints(left).join() === fingerprints(right).join()
}

type Unnamed = { readonly loaded: readonly Loaded[]; readonly nameOf: ReadonlyMap<DeclaredRegistry, string> }

/** `ca: FILE` of any number of registries: one anchor for each file, a declared one where it has the same file. */
async function loadUnnamed(
  registries: readonly DeclaredRegistry[],
  named: readonly Loaded[],
  taken: Set<string>,
  lookup: InputLookup,
  options: AnchorOptions,
): Promise<Unnamed> {
  const users = new Map<string, { readonly found: FoundInput; readonly registries: DeclaredRegistry[] }>()
  for (const registry of registries) {
    if (registry.entry.ca === undefined) continue
    const found = await lookup.findCertificates(registry.entry.ca, registry.file)
    const known = users.get(found.path)
    if (known === undefined) users.set(found.path, { found, registries: [registry] })
    else known.registries.push(registry)
  }
  const loaded: Loaded[] = []
  const nameOf = new Map<DeclaredRegistry, string>()
  // In the order of paths, so that names do not depend on the order of registries.
  for (const [path, use] of [...users].sort(([left], [right]) => (left < right ? -1 : 1))) {
    const declared = named.find((one) => one.path === path)
    const name = declared?.anchor.name ?? freeName(use.found.chosenIn ?? path, taken)
    for (const registry of use.registries) nameOf.set(registry, name)
    const [first] = use.registries
    if (declared !== undefined || first === undefined) continue
    const at = `${first.pointer}/ca`
    const where = { place: first.file.place(at, 'value'), subject: first.file.subject(at), name: first.entry.ca ?? '' }
    const { anchor, ...more } = await fromFile(name, use.found, where, lookup, options)
    const isOurs = use.registries.some(({ file }) => scopeOf(file) === 'system')
    loaded.push({ ...more, user: first, anchor: isOurs ? anchor : { ...anchor, scope: 'registries' } })
  }
  return { loaded, nameOf }
}

/** The stem of the file name made safe for a file name on the node; `-2`, `-3` … where it is taken by another file. */
function freeName(path: string, taken: Set<string>): string {
  const stem =
    posix
      .parse(path)
      .name.replace(/[^A-Za-z0-9._-]+/g, '-')
      .replace(/^[.-]+/, '')
      .slice(0, 90) || 'anchor'
  let name = stem
  for (let count = 2; taken.has(name); count += 1) name = `${stem}-${count}`
  taken.add(name)
  return name
}
