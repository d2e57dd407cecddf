// Adds our CA file to a hosts.toml that someone else wrote, and takes it out again: every other byte stays, and what
// was added can be told apart later without a note of it, so that the user's own edits in between stay too. In a list
// of CA files ours is last; where one file was named without a list, ours comes first in the list that replaces it.
import { isDeepStrictEqual } from 'node:util'
import { AgentError, asAgentError, type Problem, problem } from '../../model/errors.ts'
import { isTable, itemAt, parseToml, renderString, type TomlItem, type TomlTable, tableAt } from '../../text/toml.ts'
import { allEntries, type Entry, parseDocument, samePath } from '../../text/toml-document.ts'
import { type Edit, editKeys } from '../../text/toml-edit.ts'
import type { ContainerdVersion } from '../config/schema-version.ts'
import { defaultEndpoint, type Endpoint, parseHostsUrl } from './endpoint.ts'
import { parseHostsFile } from './hosts-toml.ts'
import { isWrittenByK3s } from './k3s.ts'

export type MergeHostsOptions = {
  /** The host that the folder serves. */
  readonly host: string
  /** Our CA file, relative to the folder. */
  readonly ca: string
  /** Name of the file in messages. */
  readonly path: string
  /** The tool that writes the file anew has the CA in its own input too. */
  readonly isInStep?: boolean
  /** Of the containerd that reads the file: what it takes for valid differs. */
  readonly version?: ContainerdVersion | undefined
}

export type MergedHosts =
  | {
      readonly ok: true
      readonly text: string
      /** What a person should know although the CA takes effect. */
      readonly warning?: Problem
    }
  | { readonly ok: false; readonly problem: Problem }

/** The same text where our CA is in it already. */
export async function mergeHostsFile(text: string, options: MergeHostsOptions): Promise<MergedHosts> {
  const { path, host, ca, isInStep = false, version } = options
  if (!isInStep && isWrittenByK3s(text))
    return refuse(
      `${path}: was written by k3s, which overwrites it: add the CA to /etc/rancher/k3s/registries.yaml (RKE2: /etc/rancher/rke2/registries.yaml)`,
    )
  const parsed = parseHostsFile(text, { path, version })
  if (!parsed.ok) return refuse(parsed.reason)
  try {
    const before = parse(text, path)
    const places = caPlaces(before, host)
    if (places.length === 0)
      return refuse(
        `${path}: never asks ${host} itself, only ${askedInstead(before)}, so the anchors of ${host} would have no effect`,
      )
    const merged = await addAt(text, before, places, options)
    if ((await unmergeHostsFile(merged, { ca, path })) !== text && merged !== text)
      return refuse(`${path}: the CA cannot be added to a file of this form in a way that can be undone`)
    const warning = parsed.file.hasHostTable ? undefined : withoutHostTable(path)
    return { ok: true, text: merged, ...(warning === undefined ? {} : { warning }) }
  } catch (thrown) {
    return refuse(asAgentError(thrown).message)
  }
}

function refuse(message: string): MergedHosts {
  return { ok: false, problem: problem('HOSTS_FILE_FOREIGN', message) }
}

/** https://github.com/containerd/containerd/pull/10028 */
function withoutHostTable(path: string): Problem {
  return problem(
    'HOSTS_FILE_FOREIGN',
    `${path}: has no [host] table, so containerd before 1.7.32 ignores the whole file and trusts the *.crt beside it instead`,
  )
}

/** The CA counts wherever `host` itself is asked. */
export function namesCa(text: string, { host, ca, path }: MergeHostsOptions): boolean {
  try {
    const table = parse(text, path)
    const places = caPlaces(table, host)
    return places.length > 0 && places.every((place) => filesAt(table, place).includes(ca))
  } catch {
    // What cannot be read names nothing; the plan reports it where it matters.
    return false
  }
}

function parse(text: string, path: string): TomlTable {
  return parseToml(text, { path, code: 'HOSTS_FILE_FOREIGN' })
}

type KeyPath = readonly string[]

/**
 * Where a `ca` counts when `host` itself is asked: `[host]` tables inherit nothing from the top, nor the top from them.
 */
function caPlaces(table: TomlTable, host: string): readonly KeyPath[] {
  const own = defaultEndpoint(host)
  const isOwn = (url: string) => {
    const endpoint = parseHostsUrl(url)
    // On a plain HTTP address a `ca` would make containerd 2.x try TLS first.
    return (
      endpoint?.scheme === 'https' && withoutDefaultPort(endpoint) === withoutDefaultPort({ ...own, scheme: 'https' })
    )
  }
  const server = table['server']
  const isServer = typeof server !== 'string' || server === '' || isOwn(server)
  const tables = Object.keys(tableAt(table, ['host']) ?? {}).filter(isOwn)
  return [...(isServer ? [['ca']] : []), ...tables.map((url) => ['host', url, 'ca'])]
}

function withoutDefaultPort({ host }: Endpoint): string {
  return host.replace(/:443$/, '').toLowerCase()
}

function askedInstead(table: TomlTable): string {
  const hosts = [...Object.keys(tableAt(table, ['host']) ?? {}), table['server']].flatMap((url) => {
    const endpoint = typeof url === 'string' ? parseHostsUrl(url) : undefined
    return endpoint === undefined ? [] : [endpoint.host]
  })
  return [...new Set(hosts)].join(', ')
}

type Splice = { readonly start: number; readonly end: number; readonly insert: string }

function splice(text: string, splices: readonly Splice[]): string {
  return splices
    .toSorted((a, b) => b.start - a.start)
    .reduce((result, { start, end, insert }) => result.slice(0, start) + insert + result.slice(end), text)
}

async function addAt(
  text: string,
  before: TomlTable,
  places: readonly KeyPath[],
  { ca, path }: MergeHostsOptions,
): Promise<string> {
  const ours = renderString(ca)
  const isMissing = (place: KeyPath) => !filesAt(before, place).includes(ca)
  const missing = places.filter(isMissing)
  const document = await parseDocument(text)
  const splices = missing.flatMap((place): readonly Splice[] => {
    const entry = allEntries(document).find((one) => samePath(one.path, place))
    if (entry === undefined) return []
    const { value, elements } = entry
    if (elements === undefined) return [{ ...value, insert: `[${ours}, ${text.slice(value.start, value.end)}]` }]
    const last = elements.at(-1)
    if (last === undefined) return [{ start: value.start + 1, end: value.start + 1, insert: ours }]
    return [{ start: last.end, end: last.end, insert: `, ${ours}` }]
  })
  const extended = splice(text, splices)
  const edits = missing
    .filter((place) => itemAt(before, place) === undefined)
    .map((key): Edit => ({ kind: 'set', key, value: ca }))
  const merged = await editKeys(extended, edits, { path })
  check(merged, before, places, ca, path)
  return merged
}

/** The parsed result must be what was there, with our file among the `ca` of each place and nothing else. */
function check(merged: string, before: TomlTable, places: readonly KeyPath[], ca: string, path: string): void {
  const after = parse(merged, path)
  const expected = places.reduce((table, place) => {
    const files = filesAt(before, place)
    const wasString = typeof itemAt(before, place) === 'string'
    if (files.includes(ca)) return table
    if (files.length === 0 && itemAt(before, place) === undefined) return withItem(table, place, ca)
    return withItem(table, place, wasString ? [ca, ...files] : [...files, ca])
  }, before)
  if (!isDeepStrictEqual(after, expected))
    throw new AgentError('CONFIG_EDIT_UNSUPPORTED', `${path}: the CA cannot be added without touching something else`, {
      path,
    })
}

function withItem(table: TomlTable, [first = '', ...rest]: KeyPath, item: TomlItem): TomlTable {
  const inner = table[first]
  const value = rest.length === 0 ? item : withItem(isTable(inner) ? inner : Object.create(null), rest, item)
  return Object.assign(Object.create(null), table, { [first]: value })
}

function filesAt(table: TomlTable, place: KeyPath): readonly string[] {
  const item = itemAt(table, place)
  if (typeof item === 'string') return [item]
  return Array.isArray(item) ? item.filter((one) => typeof one === 'string') : []
}

/**
 * The text without our CA file wherever it is named; the same text where it is not. Throws AgentError where it cannot
 * be read.
 */
export async function unmergeHostsFile(
  text: string,
  { ca, path }: Pick<MergeHostsOptions, 'ca' | 'path'>,
): Promise<string> {
  const table = parse(text, path)
  const places = [['ca'], ...Object.keys(tableAt(table, ['host']) ?? {}).map((url) => ['host', url, 'ca'])]
  const ours = places.filter((place) => filesAt(table, place).includes(ca))
  const document = await parseDocument(text)
  const splices = ours.flatMap((place) => {
    const entry = allEntries(document).find((one) => samePath(one.path, place))
    return entry?.elements === undefined ? [] : removalFromList(text, entry, entry.elements, renderString(ca))
  })
  const alone = ours.filter((place) => typeof itemAt(table, place) === 'string')
  const edits = alone.map((key): Edit => ({ kind: 'remove', key }))
  const shortened = await editKeys(splice(text, splices), edits, { path })
  // Our line was the last one of a file without a final line end: the line end before it came with it.
  return text.endsWith('\n') ? shortened : shortened.replace(/\r?\n$/, '')
}

function removalFromList(
  text: string,
  { value }: Entry,
  elements: Entry['elements'] & object,
  ours: string,
): readonly Splice[] {
  const index = elements.findIndex(({ start, end }) => text.slice(start, end) === ours)
  const [mine, before, after] = [elements[index], elements[index - 1], elements[index + 1]]
  if (mine === undefined) return []
  if (index === 0 && after !== undefined && elements.length === 2)
    return [{ ...value, insert: text.slice(after.start, after.end) }]
  if (before !== undefined) return [{ start: before.end, end: mine.end, insert: '' }]
  return [{ start: mine.start, end: after?.start ?? mine.end, insert: '' }]
}
