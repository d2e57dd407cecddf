// YAML text → plain values, with the position of every key and value. The only importer of `yaml`. Rules: whatever the
// text, problems come back and nothing is thrown; memory is bounded before the tree is built, and grows with the text
// alone, never with a product of two of its lengths; the messages are our own, because the library's repeat parts of
// the text, and the text may hold a pasted secret.
import { isAlias, isMap, isScalar, isSeq, Lexer, LineCounter, type Node, parseDocument, type Scalar } from 'yaml'

export type YamlNode = {
  /** For people: `registries[0].host`; empty for the root. Shortened where it is longer than a message should be. */
  readonly path: string
  /** Where the value stands; for an absent value, its key. */
  readonly valueAt: number
  readonly keyAt: number
  /** A scalar that is no text, as written in the file: `0123`, where the value is the number 123. */
  readonly source?: string
}

export type YamlTree = {
  readonly value: unknown
  /**
   * By JSON pointer (RFC 6901). Built when it is asked for: few are, and a table of all would hold each path once for
   * every value below it.
   */
  readonly nodes: { get(pointer: string): YamlNode | undefined }
}

export type YamlProblem = { readonly at: number; readonly text: string }

export type YamlResult = {
  readonly tree?: YamlTree
  readonly problems: readonly YamlProblem[]
  position(at: number): { readonly line: number; readonly column: number }
}

// 1000 registries with everything declared have about 100 000 tokens; the tree of 1 MiB of "[[[[" would take 1 GB.
const MAX_TOKENS = 150_000
const MAX_NODES = 100_000
/** An alias repeats a text for the price of one reference; writing the value out costs memory for each. */
const MAX_CHARACTERS = 2 * 1024 * 1024
/** Every message about a value repeats the keys above it. */
const MAX_KEY = 512
const MAX_DEPTH = 40
const MAX_PATH = 300

export function parseYaml(text: string): YamlResult {
  const lines = new LineCounter()
  const position = (at: number) => {
    const { line, col } = lines.linePos(at)
    return { line: Math.max(line, 1), column: Math.max(col, 1) }
  }
  const refuse = (...problems: readonly YamlProblem[]): YamlResult => ({ problems, position })
  if (hasTooManyTokens(text)) return refuse({ at: 0, text: 'holds more than 150000 YAML tokens: split the file' })
  try {
    const document = parseDocument(text, {
      lineCounter: lines,
      prettyErrors: false,
      uniqueKeys: false, // quadratic in the library; found while walking
      resolveKnownTags: false,
      logLevel: 'error',
    })
    // The library's name for a stack that is used up; where it happened depends on the stack, not on the file.
    if (document.errors.some((error) => error.code === 'RESOURCE_EXHAUSTION')) {
      return refuse({ at: 0, text: 'is nested too deeply' })
    }
    const found = [...document.errors, ...document.warnings].map((error) => ({
      at: error.pos[0],
      text: textOf(error.code, error.message),
    }))
    if (found.length > 0) return refuse(...onePerLine(found, position))
    return { ...new Walk().run(document.contents), position }
  } catch (error) {
    // The library's parser is recursive: hostile nesting ends in a RangeError.
    const reason = error instanceof RangeError ? 'is nested too deeply' : 'cannot be read as YAML'
    return refuse({ at: 0, text: reason })
  }
}

function hasTooManyTokens(text: string): boolean {
  // Fewer characters than tokens allowed: no need to count.
  if (text.length <= MAX_TOKENS) return false
  let count = 0
  for (const _ of new Lexer().lex(text)) {
    count += 1
    if (count > MAX_TOKENS) return true
  }
  return false
}

/** One slip makes the parser stumble on: the first message of a line is the true one. */
function onePerLine(problems: readonly YamlProblem[], position: YamlResult['position']): readonly YamlProblem[] {
  const seen = new Set<number>()
  return problems.filter(({ at }) => {
    const { line } = position(at)
    return !seen.has(line) && seen.add(line)
  })
}

const TEXTS: { readonly [code: string]: string } = {
  TAB_AS_INDENT: 'YAML does not allow tabs for indentation: use spaces',
  BAD_SCALAR_START: 'a value that begins with a special character (@ ` %) must be put in quotes',
  BLOCK_AS_IMPLICIT_KEY: 'a second ": " on one line: put the value in quotes or on its own line',
  BLOCK_IN_FLOW: 'an indented block cannot be inside { } or [ ]',
  MULTILINE_IMPLICIT_KEY: 'a key must stand on one line, followed by ": " (is a colon missing, or the space after it?)',
  KEY_OVER_1024_CHARS: `a key is longer than ${MAX_KEY} characters`,
  MULTIPLE_DOCS: 'a second YAML document ("---") begins here: one file holds one document',
  BAD_DQ_ESCAPE: 'an unknown escape sequence is in double quotes: write \\\\ for a backslash, or use single quotes',
  BAD_ALIAS: 'an alias (*name) is malformed',
  TAG_RESOLVE_FAILED: 'YAML tags (!name) are not supported here',
  BAD_COLLECTION_TYPE: 'YAML tags (!name) are not supported here',
  BAD_DIRECTIVE: 'YAML directives (%…) are not supported here',
  UNEXPECTED_TOKEN: 'unexpected text: is the indentation right?',
}

/** Messages of these codes are fixed texts of the library without anything of the file in them. */
const OWN_WORDS: ReadonlySet<string> = new Set(['MISSING_CHAR', 'BAD_INDENT'])

function textOf(code: string, message: string): string {
  const known = TEXTS[code]
  if (known !== undefined) return known
  if (message.startsWith('Implicit map keys')) return 'a line without a colon: a key must be followed by ": "'
  return OWN_WORDS.has(code) ? `not valid YAML: ${message}` : 'not valid YAML'
}

/** Thrown inside the walk only, to leave it. */
class TooMuch extends Error {}

/** Where a value and what is below it stand: as many of these as there are values, whatever their names. */
type Shape = {
  readonly keyAt: number
  readonly valueAt: number
  readonly source?: string
  readonly below?: ReadonlyMap<string, Shape> | readonly Shape[]
}

type Walked = { readonly value: unknown; readonly shape: Shape }

class Walk {
  readonly #problems: YamlProblem[] = []
  readonly #anchors = new Map<string, Node>()
  readonly #open = new Set<Node>()
  #count = 0
  #characters = 0

  run(root: Node | null): { readonly tree?: YamlTree; readonly problems: readonly YamlProblem[] } {
    if (root === null) return { tree: { value: null, nodes: new Map() }, problems: [] }
    try {
      const { value, shape } = this.#value(root, startOf(root), 0)
      if (this.#problems.length > 0) return { problems: this.#problems }
      return { tree: { value, nodes: { get: (pointer) => nodeAt(shape, pointer) } }, problems: [] }
    } catch (error) {
      if (!(error instanceof TooMuch)) throw error
      return { problems: [...this.#problems, { at: startOf(root), text: error.message }] }
    }
  }

  #value(node: Node | null, keyAt: number, depth: number): Walked {
    this.#count += 1
    if (this.#count > MAX_NODES) throw new TooMuch(`holds more than ${MAX_NODES} values once its aliases are expanded`)
    if (depth > MAX_DEPTH) throw new TooMuch('is nested too deeply')
    if (isAlias(node)) return this.#alias(node.source, startOf(node), keyAt, depth)
    if (node === null) return { value: null, shape: { keyAt, valueAt: keyAt } }
    // Known to aliases only from here on, as YAML demands; a later anchor of the same name replaces an earlier one.
    if ('anchor' in node && typeof node.anchor === 'string') this.#anchors.set(node.anchor, node)
    if (isScalar(node)) return this.#scalar(node, keyAt)
    this.#open.add(node)
    const { value, below } = isSeq(node) ? this.#list(node.items, keyAt, depth) : this.#map(node, depth)
    this.#open.delete(node)
    return { value, shape: { keyAt, valueAt: startOf(node), below } }
  }

  #scalar(node: Scalar, keyAt: number): Walked {
    const value = typeof node.value === 'bigint' ? Number(node.value) : node.value
    const isAbsent = value === null && !node.source
    const isText = typeof value === 'string'
    if (isText) this.#pay(value.length)
    const source = typeof node.source === 'string' && !isText ? { source: node.source } : {}
    return { value, shape: { keyAt, valueAt: isAbsent ? keyAt : startOf(node), ...source } }
  }

  #list(items: readonly unknown[], keyAt: number, depth: number) {
    const walked = items.map((item) => {
      const node = item as Node | null
      return this.#value(isPairless(node) ? node : null, node === null ? keyAt : startOf(node), depth + 1)
    })
    return { value: walked.map(({ value }) => value), below: walked.map(({ shape }) => shape) }
  }

  #map(node: Node, depth: number) {
    const value: Record<string, unknown> = Object.create(null)
    const below = new Map<string, Shape>()
    if (!isMap(node)) return { value, below }
    for (const pair of node.items) {
      const keyNode = pair.key as Node | null
      if (!isScalar(keyNode)) {
        const at = keyNode === null ? startOf(node) : startOf(keyNode)
        this.#problems.push({ at, text: 'a key must be plain text' })
        continue
      }
      const key = typeof keyNode.value === 'string' ? keyNode.value : (keyNode.source ?? String(keyNode.value))
      const keyAt = startOf(keyNode)
      if (below.has(key)) {
        this.#problems.push({ at: keyAt, text: `the key ${shown(key)} appears twice in the same map` })
        continue
      }
      if (key.length > MAX_KEY) {
        this.#problems.push({ at: keyAt, text: `a key is longer than ${MAX_KEY} characters` })
        continue
      }
      this.#pay(key.length)
      const walked = this.#value(pair.value as Node | null, keyAt, depth + 1)
      value[key] = walked.value
      below.set(key, walked.shape)
    }
    return { value, below }
  }

  #alias(name: string, at: number, keyAt: number, depth: number): Walked {
    const target = this.#anchors.get(name)
    if (target !== undefined && !this.#open.has(target)) return this.#value(target, keyAt, depth)
    const text =
      target === undefined ? 'an alias (*name) has no anchor (&name) before it' : 'an alias (*name) refers to itself'
    this.#problems.push({ at, text })
    return { value: null, shape: { keyAt, valueAt: keyAt } }
  }

  #pay(characters: number): void {
    this.#characters += characters
    if (this.#characters > MAX_CHARACTERS)
      throw new TooMuch(`holds more than ${MAX_CHARACTERS} characters once its aliases are expanded`)
  }
}

function nodeAt(root: Shape, pointer: string): YamlNode | undefined {
  let [shape, path] = [root, '']
  for (const key of pointer.split('/').slice(1).map(unescapePointer)) {
    const { below } = shape
    const isList = Array.isArray(below)
    const next = isList ? (below as readonly Shape[])[Number(key)] : (below as ReadonlyMap<string, Shape>)?.get(key)
    if (next === undefined) return undefined
    path = isList ? `${path}[${key}]` : joinPath(path, key)
    shape = next
  }
  const { keyAt, valueAt, source } = shape
  const short = path.length > MAX_PATH ? `${path.slice(0, MAX_PATH)}…` : path
  return { path: short, keyAt, valueAt, ...(source === undefined ? {} : { source }) }
}

function isPairless(node: Node | null): node is Node {
  return node !== null && (isScalar(node) || isMap(node) || isSeq(node) || isAlias(node))
}

function startOf(node: Node): number {
  return node.range?.[0] ?? 0
}

export function unescapePointer(key: string): string {
  return key.replaceAll('~1', '/').replaceAll('~0', '~')
}

export function escapePointer(key: string): string {
  return key.replaceAll('~', '~0').replaceAll('/', '~1')
}

export function joinPath(path: string, key: string): string {
  if (!/^[A-Za-z_$][A-Za-z0-9_.$-]*$/.test(key) || key.includes('.')) return `${path}[${shown(key)}]`
  return path === '' ? key : `${path}.${key}`
}

function shown(key: string): string {
  return JSON.stringify(key.length > 60 ? `${key.slice(0, 60)}…` : key)
}
