// --config paths → the desired state, or every reason why there is none. Reads through the port alone.
// Rule: a broken trust.yaml gives no desired state at all (the last good one stays in force); a broken anchor file holds only that anchor.
import { posix } from 'node:path'
import type { CredentialSource, DesiredState, Registry } from '../model/desired-state.ts'
import { asAgentError, type Problem } from '../model/errors.ts'
import type { InputFiles } from '../model/ports.ts'
import { ANCHOR_MAX_BYTES } from '../pki/decode/decode.ts'
import { type LoadedAnchors, loadAnchors } from './anchors.ts'
import { CONFIG_MAX_BYTES, type ConfigFile, type RawFile, readConfigFile } from './config-file.ts'
import { checkDeclarations } from './declarations.ts'
import type { DeclaredRegistry } from './declared.ts'
import { loadEndpoints } from './endpoints.ts'
import { readForeignFolder, readK3sRegistries } from './foreign-inputs.ts'
import { generationOf } from './generation.ts'
import { InputLookup, listQuietly, readInput } from './input-lookup.ts'
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
}

const MAIN_FILE = 'trust.yaml'
const FRAGMENTS = 'registries.d'
const MAX_FRAGMENTS = 200
const DEFAULT_PROOF_MS = 600_000

export async function loadDesiredState({ paths, files, now }: LoadOptions): Promise<LoadResult> {
  const report = new Report()
  const { raw, folders } = await collect(paths, files, report)
  const read = raw.map((file) => readConfigFile(file, validateTree, report)).filter((file) => file !== undefined)
  const settings = loadSettings(read, report)
  const declarations = checkDeclarations(read, settings.policy, report)
  const known = new Set(declarations.anchors.map(({ name }) => name))
  const publish = loadPublications(read, known, report)
  refuseNothing(read, report)
  if (!report.isEmpty) return { ok: false, problems: report.problems() }
  const lookup = new InputLookup(files, folders, ANCHOR_MAX_BYTES)
  const loaded = await loadAnchors(declarations, lookup, { now, minRsaBits: settings.policy.minRsaBits }, report)
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
  const text = 'declares neither registries nor anchors; write "registries: []" if the node shall trust nothing of ours'
  report.add('CONFIG_INVALID', first.place('', 'value'), '', text)
}

type Collected = { readonly raw: readonly RawFile[]; readonly folders: readonly string[] }

async function collect(paths: readonly string[], files: InputFiles, report: Report): Promise<Collected> {
  const raw: RawFile[] = []
  const folders: string[] = []
  for (const given of paths) {
    const path = posix.normalize(given)
    const input = await readInput(files, path, CONFIG_MAX_BYTES)
    if (input.kind === 'folder') {
      const folder = path.replace(/(.)\/$/, '$1')
      folders.push(folder)
      await addFolder(folder, files, raw, report)
      continue
    }
    if (raw.some((known) => known.path === path)) continue
    folders.push(posix.dirname(path))
    if (addK3s(path, input, raw, report)) continue
    addInput(path, input, false, raw, report)
    await addFragments(posix.dirname(path), files, raw, report)
  }
  if (raw.length === 0 && report.isEmpty) {
    report.addFile('CONFIG_MISSING', paths.join(', ') || MAIN_FILE, 0, `there is no ${MAIN_FILE}`)
  }
  return { raw, folders: [...new Set(folders)] }
}

/** What another tool's files say, as a file of registries.d would. */
function addDocument(path: string, document: object, raw: RawFile[]): void {
  raw.push({ path, order: raw.length, isFragment: true, bytes: Buffer.from(JSON.stringify(document)) })
}

function addK3s(path: string, input: Awaited<ReturnType<typeof readInput>>, raw: RawFile[], report: Report): boolean {
  if (input.kind !== 'file' || posix.basename(path) === MAIN_FILE) return false
  const k3s = readK3sRegistries(input.bytes.toString('utf8'))
  if (k3s === undefined) return false
  if (k3s.ok) addDocument(path, k3s.document, raw)
  else for (const reason of k3s.reasons) report.addFile('CONFIG_NOT_SUPPORTED_YET', path, raw.length, reason)
  return true
}

async function addFolder(folder: string, files: InputFiles, raw: RawFile[], report: Report): Promise<void> {
  const path = posix.join(folder, MAIN_FILE)
  if (raw.some((known) => known.path === path)) return
  const input = await readInput(files, path, CONFIG_MAX_BYTES)
  if (input.kind === 'absent') {
    const foreign = await readForeignFolder(folder, files)
    if (foreign !== undefined) {
      addDocument(folder, foreign, raw)
      return
    }
    const names = (await listQuietly(files, folder)).filter((name) => !name.startsWith('.'))
    const wrong = names.find((name) => /^trust\.(yml|json|ya?ml\..+)$/i.test(name) || name.toLowerCase() === MAIN_FILE)
    if (wrong !== undefined) {
      report.addFile('CONFIG_MISSING', path, raw.length, `the file is not there, but ${wrong} is: rename it`)
    } else if (names.length === 0) {
      // An optional ConfigMap that is gone shows as an empty folder: that must not take trust off the node.
      report.addFile('CONFIG_MISSING', path, raw.length, 'the folder is empty')
    } else if (names.includes(FRAGMENTS)) {
      report.addFile('CONFIG_MISSING', path, raw.length, `the file is not there, only ${FRAGMENTS} beside it`)
    }
    return
  }
  addInput(path, input, false, raw, report)
  await addFragments(folder, files, raw, report)
}

async function addFragments(folder: string, files: InputFiles, raw: RawFile[], report: Report): Promise<void> {
  const fragments = posix.join(folder, FRAGMENTS)
  const listed = await listFragments(fragments, files, raw.length, report)
  const names = listed.filter((name) => !name.startsWith('.')).toSorted()
  const wanted = names.filter((name) => name.endsWith('.yaml'))
  for (const name of names.filter((other) => /\.(yml|json)$/i.test(other))) {
    report.addFile('CONFIG_INVALID', posix.join(fragments, name), raw.length, 'the name must end in .yaml')
  }
  if (wanted.length > MAX_FRAGMENTS) {
    const text = `the folder holds ${wanted.length} files, more than the ${MAX_FRAGMENTS} allowed`
    report.addFile('CONFIG_TOO_LARGE', fragments, raw.length, text)
    return
  }
  for (const name of wanted) {
    const path = posix.join(fragments, name)
    if (raw.some((known) => known.path === path)) continue
    addInput(path, await readInput(files, path, CONFIG_MAX_BYTES), true, raw, report)
  }
}

/** A folder that cannot be listed is an error: taken for empty, it would take its registries off the node. */
async function listFragments(folder: string, files: InputFiles, order: number, report: Report) {
  try {
    return await files.list(folder)
  } catch (error) {
    report.addFile('CONFIG_UNREADABLE', folder, order, `the folder cannot be read: ${asAgentError(error).message}`)
    return []
  }
}

function addInput(
  path: string,
  input: Awaited<ReturnType<typeof readInput>>,
  isFragment: boolean,
  raw: RawFile[],
  report: Report,
): void {
  const order = raw.length
  switch (input.kind) {
    case 'file':
      raw.push({ path, order, isFragment, bytes: input.bytes })
      return
    case 'absent':
      report.addFile('CONFIG_MISSING', path, order, 'there is no such file')
      return
    case 'folder':
      report.addFile('CONFIG_INVALID', path, order, 'this is a folder where a file is expected')
      return
    case 'too-large': {
      const text = `the file has ${input.bytes} bytes, more than the ${CONFIG_MAX_BYTES} allowed`
      report.addFile('CONFIG_TOO_LARGE', path, order, text)
      return
    }
    case 'unreadable':
      report.addFile('CONFIG_UNREADABLE', path, order, `the file cannot be read: ${input.reason}`)
  }
}
