// Takes out of a file what the agent put in, and keeps what others put in since. The rule: the text decides how, the
// meaning decides whether. A result counts only when every key (TOML, YAML), certificate (PEM) or line (hosts file) in it
// is as it has to be; else the file is left alone.
import { isDeepStrictEqual } from 'node:util'
import type { LineEdit } from '../../model/state.ts'
import { HOSTS_FILE } from '../../text/hosts-file.ts'
import { applyHunks, differences, linesOf, withBoth } from '../../text/line-diff.ts'
import { isTable, parseToml, type TomlItem, type TomlValue } from '../../text/toml.ts'
import { type Edit, editKeys } from '../../text/toml-edit.ts'
import { parseYaml } from '../../text/yaml-tree.ts'

/** What a text says: each key by its path, each certificate, or how often each line stands there. */
type Meaning = ReadonlyMap<string, unknown>

type Format = 'toml' | 'yaml' | 'pem' | 'lines'

export type Versions = {
  readonly path: string
  /** What was there before the agent; empty where there was no file. */
  readonly before: string
  /** What the agent made of it. */
  readonly after: string
  readonly now: string
}

export type TakenOut =
  /** The text without the agent's part; undefined: nothing but the agent's part was in it, so the file goes. */
  | { readonly kind: 'taken-out'; readonly text: string | undefined }
  /** Nothing of the agent's is in it any more. */
  | { readonly kind: 'nothing-left' }
  | { readonly kind: 'kept'; readonly reason: string }

/**
 * Files that hold what others wrote beside what the agent wrote. Anything else is either the agent's or theirs as a
 * whole.
 */
export function isMergeable(path: string): boolean {
  return formatOf(path) !== undefined
}

/** Comments of a hosts file may be in any encoding: one character a byte keeps them. */
export function encodingOf(path: string): 'latin1' | 'utf8' {
  return formatOf(path) === 'lines' ? 'latin1' : 'utf8'
}

export async function takeOut(versions: Versions): Promise<TakenOut> {
  const { path, before, after, now } = versions
  const format = formatOf(path)
  if (format === undefined) return { kind: 'kept', reason: 'it is a file of the agent, and it was replaced' }
  const meant = { before: meaningOf(format, before), after: meaningOf(format, after), now: meaningOf(format, now) }
  if (meant.before === undefined || meant.after === undefined)
    return { kind: 'kept', reason: 'what the agent changed in it cannot be told apart' }
  if (meant.now === undefined) return { kind: 'kept', reason: `it cannot be read as ${format.toUpperCase()}` }
  const wanted = wantedMeaning({ before: meant.before, after: meant.after, now: meant.now })
  if (typeof wanted === 'string') return { kind: 'kept', reason: wanted }
  if (isDeepStrictEqual(wanted, meant.now)) return { kind: 'nothing-left' }
  for (const { text, isTheirs } of await candidates(format, versions, meant.now, wanted)) {
    if (!isDeepStrictEqual(meaningOf(format, text), wanted)) continue
    // The agent's comments are not taken out one by one: where they are all that there is, they are no reason to keep
    // the file.
    const isEmpty = isTheirs ? text.trim() === '' : wanted.size === 0
    return { kind: 'taken-out', text: before === '' && isEmpty ? undefined : text }
  }
  return { kind: 'kept', reason: 'others wrote in the place where the agent wrote, and the two cannot be separated' }
}

function formatOf(path: string): Format | undefined {
  if (path === HOSTS_FILE) return 'lines'
  if (/\.(?:toml|conf)$/.test(path)) return 'toml'
  if (/\.ya?ml$/.test(path)) return 'yaml'
  return /(?:ca-certificates\.crt|-bundle\.(?:crt|pem|trust\.crt)|ca-bundle\.pem)$/.test(path) ? 'pem' : undefined
}

function meaningOf(format: Format, text: string): Meaning | undefined {
  switch (format) {
    case 'toml':
      return tomlMeaning(text)
    case 'yaml':
      return yamlMeaning(text)
    case 'pem':
      return new Map(linesOf(text).flatMap((line) => (line.startsWith('-----BEGIN ') ? [[bodyOf(line), true]] : [])))
    case 'lines':
      return linesMeaning(text)
    default:
      throw format satisfies never
  }
}

function linesMeaning(text: string): Meaning {
  const counts = new Map<string, number>()
  for (const line of linesOf(text)) counts.set(lineKey(line), (counts.get(lineKey(line)) ?? 0) + 1)
  return counts
}

function lineKey(line: string): string {
  return `line ${line.replace(/\r?\n$/, '')}`
}

function tomlMeaning(text: string): Meaning | undefined {
  try {
    return flat(parseToml(text, { path: '', code: 'CONTAINERD_CONFIG_UNREADABLE' }))
  } catch {
    return undefined
  }
}

function yamlMeaning(text: string): Meaning | undefined {
  const { tree, problems } = parseYaml(text)
  if (problems.length > 0) return undefined
  return flat(tree?.value ?? {})
}

/** Tables by the path of each value in them; an empty table says something too. */
function flat(value: unknown, path: readonly string[] = []): Meaning {
  if (!isTable(value as TomlItem)) return new Map([[JSON.stringify(path), value]])
  const entries = Object.entries(value as { readonly [key: string]: unknown })
  const inner = entries.flatMap(([key, each]) => [...flat(each, [...path, key])])
  return new Map(inner.length === 0 && path.length > 0 ? [[JSON.stringify(path), {}]] : inner)
}

function bodyOf(block: string): string {
  return block.replaceAll(/-----[^-]*-----|\s/g, '')
}

/**
 * Where the agent changed something it becomes as before, everywhere else it stays as it is now; text: why that cannot
 * be.
 */
function wantedMeaning({ before, after, now }: { readonly [version in 'before' | 'after' | 'now']: Meaning }) {
  const wanted = new Map(now)
  for (const key of new Set([...before.keys(), ...after.keys()])) {
    const [was, ours, theirs] = [before.get(key), after.get(key), now.get(key)]
    if (isDeepStrictEqual(was, ours) || isDeepStrictEqual(theirs, was)) continue
    if (!isDeepStrictEqual(theirs, ours)) return `others changed ${nameOf(key)}, which the agent changed as well`
    if (was === undefined) wanted.delete(key)
    else wanted.set(key, was)
  }
  return wanted
}

function nameOf(key: string): string {
  if (key.startsWith('line ')) return 'a line'
  return key.startsWith('[') ? (JSON.parse(key) as readonly string[]).join('.') : 'a certificate'
}

type Candidate = {
  readonly text: string
  /** It holds nothing that the agent wrote, comments included. */
  readonly isTheirs: boolean
}

async function candidates(
  format: Format,
  { path, before, after, now }: Versions,
  meant: Meaning,
  wanted: Meaning,
): Promise<readonly Candidate[]> {
  const merged = mergedText(before, after, now)
  const first = merged === undefined ? [] : [{ text: merged, isTheirs: true }]
  if (format === 'pem') return [...first, { text: withBlocks(before, now, wanted), isTheirs: false }]
  if (format === 'lines') return [...first, { text: withLines(before, now, wanted), isTheirs: true }]
  const edited = format === 'toml' ? await withEditedKeys(now, meant, wanted, path) : undefined
  return edited === undefined ? first : [...first, { text: edited, isTheirs: false }]
}

function mergedText(before: string, after: string, now: string): string | undefined {
  const from = linesOf(after)
  const [back, theirs] = [differences(from, linesOf(before)), differences(from, linesOf(now))]
  return back === undefined || theirs === undefined ? undefined : withBoth(from, back, theirs).join('')
}

/** For a bundle that was put in another order meanwhile. */
function withBlocks(before: string, now: string, wanted: Meaning): string {
  const isBlock = (line: string) => line.startsWith('-----BEGIN ')
  const kept = linesOf(now).filter((line) => !isBlock(line) || wanted.has(bodyOf(line)))
  const there = new Set(kept.filter(isBlock).map(bodyOf))
  const missing = linesOf(before).filter(
    (line) => isBlock(line) && wanted.has(bodyOf(line)) && !there.has(bodyOf(line)),
  )
  return [...kept, ...missing].join('')
}

/** For lines of others right beside those of the agent. */
function withLines(before: string, now: string, wanted: Meaning): string {
  const left = new Map(wanted) as Map<string, number>
  const take = (line: string) => {
    const count = left.get(lineKey(line)) ?? 0
    left.set(lineKey(line), count - 1)
    return count > 0
  }
  const kept = linesOf(now).filter(take)
  return [...kept, ...linesOf(before).filter(take)].join('')
}

/** For a file that was written anew in another form meanwhile. */
async function withEditedKeys(now: string, meant: Meaning, wanted: Meaning, path: string): Promise<string | undefined> {
  const keys = [...new Set([...meant.keys(), ...wanted.keys()])].filter(
    (key) => !isDeepStrictEqual(meant.get(key), wanted.get(key)),
  )
  const edits = keys.map((key): Edit | undefined => {
    const [at, value] = [JSON.parse(key) as readonly string[], wanted.get(key)]
    if (value === undefined) return { kind: 'remove', key: at }
    return isTomlValue(value) ? { kind: 'set', key: at, value } : undefined
  })
  if (edits.includes(undefined)) return undefined
  try {
    return await editKeys(now, edits as readonly Edit[], { path })
  } catch {
    return undefined
  }
}

function isTomlValue(value: unknown): value is TomlValue {
  return (
    ['string', 'number', 'boolean'].includes(typeof value) ||
    (Array.isArray(value) && value.every((each) => typeof each === 'string'))
  )
}

/** How to make `after` out of `before`, to be kept in the journal: the bytes themselves are not. */
export function editsOf(before: string, after: string): readonly LineEdit[] | undefined {
  return differences(linesOf(before), linesOf(after))
}

/** The text that `editsOf` was told of; undefined where the edits do not fit it. */
export function editedText(before: string, edits: readonly LineEdit[]): string | undefined {
  return applyHunks(linesOf(before), edits)?.join('')
}
