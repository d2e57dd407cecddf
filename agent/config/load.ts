// --config paths → the desired state, or every reason why there is none. Reads through the port alone. Rule: a broken
// trust.yaml gives no desired state at all (the last good one stays in force); a broken fragment goes back to what it
// last said, and a broken anchor file holds only that anchor.
// This room: trust.yaml, its fragments and CA files become one desired state, or reasons with line and column.
// Begin here; then schema/ (what may be written), reading/ (one file), declarations/ (what it declares), foreign/ (files
// of others); fragments.ts, guarded-load.ts (in a thread), for-node.ts (what counts on this node).
// May touch: files of the configuration through the port InputFiles; never the node.
import type { CredentialSource, DesiredState, Registry } from '../model/desired-state.ts'
import type { Problem } from '../model/errors.ts'
import type { InputFiles } from '../model/ports.ts'
import { ANCHOR_MAX_BYTES, type Decoded, decodeCertificates } from '../pki/decode/decode.ts'
import { canonicalAddress } from '../text/hosts-file.ts'
import { collectFiles } from './collect.ts'
import { type Decoder, type LoadedAnchors, loadAnchors } from './declarations/anchors.ts'
import { checkDeclarations } from './declarations/declarations.ts'
import { checkDistrust, loadDistrust } from './declarations/distrust.ts'
import { loadEndpoints } from './declarations/endpoints.ts'
import { checkDetours, checkSystemStore } from './declarations/forbidden-hosts.ts'
import { checkReach } from './declarations/reach.ts'
import { loadSettings } from './declarations/settings.ts'
import { Fragments, type LastGood } from './fragments.ts'
import { generationOf } from './generation.ts'
import { loadPublications } from './publish.ts'
import { type ConfigFile, type RawFile, readConfigFile } from './reading/config-file.ts'
import type { DeclaredRegistry } from './reading/declared.ts'
import { InputLookup, reachOf } from './reading/input-lookup.ts'
import { placeText, Report } from './reading/report.ts'
import { parseDuration } from './schema/duration.ts'
import { validateTree } from './schema/validate.ts'

export type LoadResult =
  | {
      readonly ok: true
      readonly desired: DesiredState
      /** What is wrong with single anchors; each is also in the anchor itself. */
      readonly problems: readonly Problem[]
      /** What is wrong with fragments, which are not in force as they are now. */
      readonly refused: readonly Problem[]
      /** To be handed to the next load. */
      readonly lastGood: LastGood
    }
  | { readonly ok: false; readonly problems: readonly Problem[] }

/** `isAnew`: every file is read, whatever seems to be as it was. */
export type LookOptions = { readonly isAnew?: boolean | undefined }
export type LoadConfig = (options?: LookOptions) => Promise<LoadResult>

export type LoadOptions = {
  /** Files, or folders with a trust.yaml; folders without one serve as places for CA files. */
  readonly paths: readonly string[]
  readonly files: InputFiles
  /** Milliseconds since the epoch: anchors are judged by it. */
  readonly now: number
  /** Told before the bytes of each file are decoded. */
  readonly onStep?: (path: string) => void
  /** Files that are not decoded because that did harm before, and what it was; reads on after the name of the file. */
  readonly harmful?: ReadonlyMap<string, string>
  readonly decode?: Decoder
  readonly lastGood?: LastGood
}

const DEFAULT_PROOF_MS = 600_000
const NONE: ReadonlyMap<string, string> = new Map()

export async function loadDesiredState(options: LoadOptions): Promise<LoadResult> {
  const { paths, files, onStep = () => undefined, harmful = NONE, lastGood = NO_FRAGMENTS } = options
  const report = new Report()
  const { raw, folders, fragments: all } = await collectFiles(paths, { files, onStep, harmful }, report)
  const fragments = new Fragments(raw, all, lastGood)
  fragments.refuse(report)
  const failed = (found: Report): LoadResult => {
    found.addAll(fragments.refused)
    return { ok: false, problems: found.problems() }
  }
  const ownProblems = report.part((file) => !all.has(file))
  if (!ownProblems.isEmpty) return failed(ownProblems)
  const lookup = new InputLookup(files, folders, ANCHOR_MAX_BYTES)
  const parse = parseOnce(onStep)
  const decode = decodeOnce(options.decode ?? decodeCertificates)
  for (;;) {
    const attempt = await assemble(fragments.files.map(parse), lookup, { ...options, onStep, harmful, decode })
    if (!(attempt instanceof Report)) {
      const sources = [...fragments.files.map(({ path }) => path), ...attempt.sources]
      return {
        ok: true,
        desired: { ...attempt.desired, sources },
        problems: attempt.problems,
        refused: fragments.refused.problems(),
        lastGood: fragments.good,
      }
    }
    // What is wrong elsewhere may only follow from what a fragment says: those first.
    if (!fragments.refuse(attempt)) return failed(attempt)
  }
}

const NO_FRAGMENTS: LastGood = new Map()

/** Fragments are refused one after the other: the anchors of the others are the same each time. */
function decodeOnce(decode: Decoder): Decoder {
  const known = new Map<Buffer, Decoded>()
  return (bytes, options) => {
    const before = known.get(bytes)
    if (options.password !== undefined) return decode(bytes, options)
    if (before !== undefined) return before
    const decoded = decode(bytes, options)
    known.set(bytes, decoded)
    return decoded
  }
}

type Parsed = { readonly config: ConfigFile | undefined; readonly report: Report }

function parseOnce(onStep: (path: string) => void): (file: RawFile) => Parsed {
  const parsed = new Map<RawFile, Parsed>()
  return (file) => {
    const known = parsed.get(file)
    if (known !== undefined) return known
    onStep(file.path)
    const report = new Report()
    const fresh = { config: readConfigFile(file, validateTree, report), report }
    parsed.set(file, fresh)
    return fresh
  }
}

type Assembled = {
  readonly desired: DesiredState
  readonly problems: readonly Problem[]
  /** Files with certificates and passwords that were read. */
  readonly sources: readonly string[]
}

/** The desired state of these files, or what is wrong with them. */
async function assemble(
  parsed: readonly Parsed[],
  lookup: InputLookup,
  {
    now,
    onStep,
    harmful,
    decode = decodeCertificates,
  }: LoadOptions & Pick<Required<LoadOptions>, 'onStep' | 'harmful'>,
): Promise<Assembled | Report> {
  const report = new Report()
  for (const one of parsed) report.addAll(one.report)
  const read = parsed.flatMap(({ config }) => config ?? [])
  const own = read.filter(({ isFragment }) => !isFragment)
  const settings = loadSettings(own, report)
  const declarations = checkDeclarations(read, settings.policy, report)
  const known = new Set(declarations.anchors.map(({ name }) => name))
  const publish = loadPublications(own, known, report)
  const distrusted = checkDistrust(own, report)
  refuseNothing(read, report)
  const detours = checkDetours(declarations, settings.policy, report)
  await checkReach(declarations, lookup, report)
  if (!report.isEmpty) return report
  const judging = { now, minRsaBits: settings.policy.minRsaBits, policy: settings.policy, onStep, harmful, decode }
  const loaded = await loadAnchors(declarations, lookup, judging, report)
  if (!report.isEmpty) return report
  const { anchors } = loaded
  const { distrust, ...taken } = await loadDistrust(distrusted, anchors, lookup, judging, report)
  const warnings = [...detours, ...checkSystemStore(loaded.anchors, declarations, settings, report)]
  if (!report.isEmpty) return report
  const declared = await Promise.all(
    declarations.registries
      .toSorted((left, right) => left.place.order - right.place.order)
      .map(async (declared) => {
        const credentials = await credentialSource(declared, lookup)
        const endpoints = await loadEndpoints(declared, lookup)
        return { ...toRegistry(declared, loaded), ...endpoints, ...(credentials === undefined ? {} : { credentials }) }
      }),
  )
  const wildcard = declared.find(({ host }) => host === '*')
  const registries = declared.filter((one) => one !== wildcard)
  const every = { registries, ...(wildcard === undefined ? {} : { wildcard }) }
  const generation = generationOf({ anchors, ...every, ...(distrust !== undefined && { distrust }), ...settings })
  const desired: DesiredState = {
    ...settings,
    generation,
    sources: [],
    anchors,
    ...every,
    ...(distrust !== undefined && { distrust }),
    ...(publish.length > 0 && { publish }),
    ...(warnings.length > 0 && { warnings }),
  }
  const problems = [...anchors, ...declared, ...(distrust === undefined ? [] : [distrust])].flatMap(
    ({ problems = [] }) => problems,
  )
  return { desired, problems, sources: [...new Set([...loaded.sources, ...taken.sources])] }
}

function toRegistry(declared: DeclaredRegistry, { namesOf }: LoadedAnchors): Registry {
  const { entry, place } = declared
  const { image, level = 'manifest', every, leavesImage } = entry.proof ?? {}
  const everyMs = every === undefined ? DEFAULT_PROOF_MS : (parseDuration(every) ?? DEFAULT_PROOF_MS)
  return {
    host: entry.host,
    anchors: namesOf.get(declared) ?? [],
    proof: {
      level,
      everyMs,
      ...(image === undefined ? {} : { image }),
      ...(leavesImage === true && { leavesImage }),
    },
    source: placeText(place),
    ...(entry.addresses !== undefined && { addresses: entry.addresses.map((one) => canonicalAddress(one) ?? one) }),
    ...(entry.when !== undefined && { when: entry.when }),
  }
}

/** Only where the files are: they are read when a proof needs them. */
async function credentialSource(
  { entry, file }: DeclaredRegistry,
  lookup: InputLookup,
): Promise<CredentialSource | undefined> {
  const { dockerConfigFile, usernameFile, passwordFile, tokenFile, hosts } = entry.credentials ?? {}
  const locate = (name: string) => lookup.locate(name, file)
  const within = reachOf(file)
  const reach = { ...(within !== undefined && { within }), ...(hosts !== undefined && { hosts }) }
  if (dockerConfigFile !== undefined) return { kind: 'docker-config', path: await locate(dockerConfigFile), ...reach }
  const usernamePath = usernameFile === undefined ? undefined : await locate(usernameFile)
  if (tokenFile !== undefined)
    return {
      kind: 'token',
      tokenPath: await locate(tokenFile),
      ...(usernamePath === undefined ? {} : { usernamePath }),
      ...reach,
    }
  if (passwordFile === undefined || usernamePath === undefined) return undefined
  return { kind: 'password', usernamePath, passwordPath: await locate(passwordFile), ...reach }
}

/** An empty desired state takes everything off the node: that must be said, not left out. */
function refuseNothing(files: readonly ConfigFile[], report: Report): void {
  const [first] = files
  if (first === undefined || !report.isEmpty) return
  if (files.some(({ value }) => ['anchors', 'registries', 'distrust'].some((key) => value[key] !== undefined))) return
  const text =
    'declares neither registries nor anchors; write "registries: []" if this node is to trust no private registry'
  report.add('CONFIG_INVALID', first.place('', 'value'), '', text)
}
