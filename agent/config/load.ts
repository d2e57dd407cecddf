// --config paths → the desired state, or every reason why there is none. Reads through the port alone.
// Rule: a broken trust.yaml gives no desired state at all (the last good one stays in force); a broken anchor file holds only that anchor.
import type { CredentialSource, DesiredState, Registry } from '../model/desired-state.ts'
import type { Problem } from '../model/errors.ts'
import type { InputFiles } from '../model/ports.ts'
import { ANCHOR_MAX_BYTES, decodeCertificates } from '../pki/decode/decode.ts'
import { type Decoder, type LoadedAnchors, loadAnchors } from './anchors.ts'
import { collectFiles } from './collect.ts'
import { type ConfigFile, readConfigFile } from './config-file.ts'
import { checkDeclarations } from './declarations.ts'
import type { DeclaredRegistry } from './declared.ts'
import { loadEndpoints } from './endpoints.ts'
import { generationOf } from './generation.ts'
import { InputLookup } from './input-lookup.ts'
import { loadPublications } from './publish.ts'
import { placeText, Report } from './report.ts'
import { parseDuration } from './schema/duration.ts'
import { validateTree } from './schema/validate.ts'
import { loadSettings } from './settings.ts'

export type LoadResult =
  /** `problems`: what is wrong with single anchors; each is also in the anchor itself. */
  | { readonly ok: true; readonly desired: DesiredState; readonly problems: readonly Problem[] }
  | { readonly ok: false; readonly problems: readonly Problem[] }

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
}

const DEFAULT_PROOF_MS = 600_000
const NONE: ReadonlyMap<string, string> = new Map()

export async function loadDesiredState(options: LoadOptions): Promise<LoadResult> {
  const { paths, files, now, onStep = () => undefined, harmful = NONE, decode = decodeCertificates } = options
  const report = new Report()
  const { raw, folders } = await collectFiles(paths, { files, onStep, harmful }, report)
  const read = raw.flatMap((file) => {
    onStep(file.path)
    return readConfigFile(file, validateTree, report) ?? []
  })
  const settings = loadSettings(read, report)
  const declarations = checkDeclarations(read, settings.policy, report)
  const known = new Set(declarations.anchors.map(({ name }) => name))
  const publish = loadPublications(read, known, report)
  refuseNothing(read, report)
  if (!report.isEmpty) return { ok: false, problems: report.problems() }
  const lookup = new InputLookup(files, folders, ANCHOR_MAX_BYTES)
  const judging = { now, minRsaBits: settings.policy.minRsaBits, onStep, harmful, decode }
  const loaded = await loadAnchors(declarations, lookup, judging, report)
  if (!report.isEmpty) return { ok: false, problems: report.problems() }
  const { anchors } = loaded
  const declared = await Promise.all(
    declarations.registries.map(async (declared) => {
      const credentials = await credentialSource(declared, lookup)
      const endpoints = await loadEndpoints(declared, lookup)
      return { ...toRegistry(declared, loaded), ...endpoints, ...(credentials === undefined ? {} : { credentials }) }
    }),
  )
  const wildcard = declared.find(({ host }) => host === '*')
  const registries = declared.filter((one) => one !== wildcard)
  const every = { registries, ...(wildcard === undefined ? {} : { wildcard }) }
  const generation = generationOf({ anchors, ...every, targets: settings.targets, restart: settings.restart })
  const sources = [...raw.map((file) => file.path), ...loaded.sources]
  const desired: DesiredState = {
    ...settings,
    generation,
    sources,
    anchors,
    ...every,
    ...(publish.length > 0 && { publish }),
  }
  return { ok: true, desired, problems: [...anchors, ...declared].flatMap(({ problems = [] }) => problems) }
}

function toRegistry(declared: DeclaredRegistry, { namesOf }: LoadedAnchors): Registry {
  const { entry, place } = declared
  const { image, level = 'manifest', every } = entry.proof ?? {}
  const everyMs = every === undefined ? DEFAULT_PROOF_MS : (parseDuration(every) ?? DEFAULT_PROOF_MS)
  return {
    host: entry.host,
    anchors: namesOf.get(declared) ?? [],
    proof: { level, everyMs, ...(image === undefined ? {} : { image }) },
    source: placeText(place),
  }
}

/** Only where the files are: they are read when a proof needs them. */
async function credentialSource(
  { entry, file }: DeclaredRegistry,
  lookup: InputLookup,
): Promise<CredentialSource | undefined> {
  const { dockerConfigFile, usernameFile, passwordFile, tokenFile } = entry.credentials ?? {}
  const locate = (name: string) => lookup.locate(name, file.folder)
  if (dockerConfigFile !== undefined) return { kind: 'docker-config', path: await locate(dockerConfigFile) }
  const usernamePath = usernameFile === undefined ? undefined : await locate(usernameFile)
  if (tokenFile !== undefined)
    return {
      kind: 'token',
      tokenPath: await locate(tokenFile),
      ...(usernamePath === undefined ? {} : { usernamePath }),
    }
  if (passwordFile === undefined || usernamePath === undefined) return undefined
  return { kind: 'password', usernamePath, passwordPath: await locate(passwordFile) }
}

/** An empty desired state takes everything off the node: that must be said, not left out. */
function refuseNothing(files: readonly ConfigFile[], report: Report): void {
  const [first] = files
  if (first === undefined || !report.isEmpty) return
  if (files.some(({ value }) => value['anchors'] !== undefined || value['registries'] !== undefined)) return
  const text =
    'declares neither registries nor anchors; write "registries: []" if this node is to trust no private registry'
  report.add('CONFIG_INVALID', first.place('', 'value'), '', text)
}
