// registries.yaml of k3s and RKE2: names CA files of ours in it and takes them out again. Whole lines that carry our
// mark come and go; every other line keeps its bytes, and the parsed result must be the original plus our keys, else
// nothing is changed. The file holds passwords: no message repeats anything of it but host names and paths.
import { isDeepStrictEqual } from 'node:util'
import { escapePointer, parseYaml, type YamlResult, type YamlTree } from '../../text/yaml-tree.ts'

const MARK = '# registry-trust-agent'

export type RegistriesOptions = {
  /** By host: the CA file that it should name; every other one of ours is taken out. */
  readonly caFiles: ReadonlyMap<string, string>
  /** A `ca_file` below it is ours. */
  readonly ownFolder: string
  /** k3s runs with disable-default-registry-endpoint. */
  readonly noDefaultEndpoint: boolean
}

/** foreign: the host has a `ca_file` of someone else. */
export type Refusal = { readonly kind: 'foreign' | 'unsupported'; readonly reason: string }

export type RegistriesEdit =
  | {
      readonly ok: true
      readonly text: string
      readonly refused: ReadonlyMap<string, Refusal>
      /** By host: our CA files that `text` names. */
      readonly named: ReadonlyMap<string, string>
    }
  /** `reason` reads on after the name of the file; `named` is what it names of ours as it is. */
  | { readonly ok: false; readonly reason: string; readonly named: ReadonlyMap<string, string> }

type Table = { readonly [key: string]: unknown }

export function editRegistries(text: string, options: RegistriesOptions): RegistriesEdit {
  const read = readRegistries(text)
  if (!read.ok) return read
  const plan = new LineEdit(text, read)
  const before = namedIn(read.value, options.ownFolder)
  const wanted = [...options.caFiles].filter(([host, file]) => before.get(host) !== file)
  const gone = [...before.keys()].filter((host) => options.caFiles.get(host) !== before.get(host))
  const refused = new Map<string, Refusal>()
  for (const host of gone) plan.remove(host)
  for (const [host, file] of wanted.toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    const refusal = refusalOf(host, read.value, options) ?? plan.add(host, file)
    if (refusal !== undefined) refused.set(host, refusal)
  }
  const after = plan.text()
  const expected = new Map([...options.caFiles].filter(([host]) => !refused.has(host)))
  if (isAsMeant(text, after, expected, options.ownFolder)) return { ok: true, text: after, refused, named: expected }
  return {
    ok: false,
    reason: 'has a form in which lines cannot be added or taken out without changing something else',
    named: before,
  }
}

type Read = {
  readonly ok: true
  readonly value: Table
  readonly tree: YamlTree
  readonly position: YamlResult['position']
}

function readRegistries(text: string): Read | Extract<RegistriesEdit, { ok: false }> {
  const { tree, problems, position } = parseYaml(text)
  const [first] = problems
  if (tree === undefined || first !== undefined) {
    const { line, column } = position(first?.at ?? 0)
    return unread(`line ${line}, column ${column}: ${first?.text ?? 'cannot be read as YAML'}`)
  }
  if (tree.value === null || tree.value === undefined) return { ok: true, value: {}, tree, position }
  if (isTable(tree.value)) return { ok: true, value: tree.value, tree, position }
  return unread('holds no table of mirrors and configs')
}

function unread(reason: string): Extract<RegistriesEdit, { ok: false }> {
  return { ok: false, reason, named: new Map() }
}

function isTable(value: unknown): value is Table {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function tableAt(value: unknown, ...keys: readonly string[]): Table {
  const [key, ...rest] = keys
  const table = isTable(value) ? value : {}
  return key === undefined ? table : tableAt(table[key], ...rest)
}

function namedIn(value: Table, ownFolder: string): ReadonlyMap<string, string> {
  const named = new Map<string, string>()
  for (const host of Object.keys(tableAt(value, 'configs'))) {
    const file = tableAt(value, 'configs', host, 'tls')['ca_file']
    if (isOurs(file, ownFolder)) named.set(host, file)
  }
  return named
}

function isOurs(file: unknown, ownFolder: string): file is string {
  return typeof file === 'string' && file.startsWith(`${ownFolder}/`)
}

function refusalOf(
  host: string,
  value: Table,
  { ownFolder, noDefaultEndpoint }: RegistriesOptions,
): Refusal | undefined {
  const file = tableAt(value, 'configs', host, 'tls')['ca_file']
  if (file !== undefined && file !== null && !isOurs(file, ownFolder))
    return { kind: 'foreign', reason: `names ${typeof file === 'string' ? file : 'something else'} as its ca_file` }
  const isMirrored = tableAt(value, 'mirrors')[host] !== undefined && tableAt(value, 'configs')[host] === undefined
  // pkg/agent/containerd/config.go, getHostConfigs: only a host without `configs` of its own loses its default
  // endpoint.
  if (isMirrored && noDefaultEndpoint)
    return {
      kind: 'unsupported',
      reason:
        'has only mirrors (disable-default-registry-endpoint), and an entry in `configs` would make containerd ask the host itself again',
    }
  return undefined
}

/** Lines to add and to take out, all by the line numbers of the original. */
class LineEdit {
  readonly #lines: readonly string[]
  readonly #read: Read
  readonly #removed = new Set<number>()
  readonly #added = new Map<number, string[]>()
  readonly #emptied = new Set<string>()

  constructor(text: string, read: Read) {
    this.#lines = text.split('\n')
    this.#read = read
  }

  text(): string {
    const lines = this.#lines.flatMap((line, index) => [
      ...(this.#removed.has(index) && !this.#added.has(index) ? [] : [line]),
      ...(this.#added.get(index) ?? []),
    ])
    return [...(this.#added.get(-1) ?? []), ...lines].join('\n')
  }

  /** Our key, and the keys above it that are ours and would hold nothing any more. */
  remove(host: string): void {
    const { value } = this.#read
    const tls = ['configs', host, 'tls']
    this.#removeLine([...tls, 'ca_file'])
    if (Object.keys(tableAt(value, ...tls)).length > 1 || !this.#removeLine(tls)) return
    const isAlone = Object.keys(tableAt(value, 'configs', host)).length === 1
    if (!isAlone || !this.#removeLine(['configs', host])) return
    this.#emptied.add(host)
    if (Object.keys(tableAt(value, 'configs')).every((one) => this.#emptied.has(one))) this.#removeLine(['configs'])
  }

  #removeLine(keys: readonly string[]): boolean {
    const line = this.#lineOf(keys)
    if (line === undefined || !this.#isMarked(line)) return false
    this.#removed.add(line)
    return true
  }

  add(host: string, file: string): Refusal | undefined {
    const { value } = this.#read
    const entry = [`${JSON.stringify(host)}:`, 'tls:', `ca_file: ${JSON.stringify(file)}`]
    if (value['configs'] === undefined) return this.#append(['configs:', ...entry])
    const keys = ['configs', host, 'tls']
    for (const depth of [3, 2, 1]) {
      const parent = keys.slice(0, depth)
      const there = depth === 1 ? value['configs'] : tableAt(value, ...keys.slice(0, depth - 1))[keys[depth - 1] ?? '']
      if (there !== undefined) return this.#insertBelow(parent, there, entry.slice(depth - 1))
    }
    return undefined
  }

  #insertBelow(keys: readonly string[], there: unknown, entry: readonly string[]): Refusal | undefined {
    const where = keys.length === 1 ? 'configs' : `its \`${keys.length === 2 ? 'configs' : 'tls'}\``
    const refuse = (why: string): Refusal => ({ kind: 'unsupported', reason: `cannot get a ca_file: ${where} ${why}` })
    const line = this.#lineOf(keys)
    const text = line === undefined ? undefined : this.#lines[line]
    if (line === undefined || text === undefined) return refuse('is not on a line of its own')
    // What others refer to would change with it.
    if (/[&*]/.test(text.replace(/ #.*/, '').replace(/"[^"]*"|'[^']*'/g, '')))
      return refuse('has an anchor or is an alias')
    if (there === null) {
      const node = this.#read.tree.nodes.get(pointerOf(keys))
      if (node?.valueAt !== node?.keyAt) return refuse('has a value already')
      return this.#insert(line, `${indentOf(text)}  `, entry)
    }
    if (!isTable(there)) return refuse('is not a table')
    if ('<<' in there) return refuse('takes keys over from elsewhere (<<)')
    const [first] = Object.keys(there)
    const child = first === undefined ? undefined : this.#lineOf([...keys, first])
    const indent = child === undefined || child <= line ? undefined : indentOf(this.#lines[child] ?? '')
    if (indent === undefined || indent.length <= indentOf(text).length) return refuse('is not in block form')
    return this.#insert(line, indent, entry)
  }

  #append(entry: readonly string[]): Refusal | undefined {
    const [first] = Object.keys(this.#read.value)
    const line = first === undefined ? undefined : this.#lineOf([first])
    if (first !== undefined && line === undefined)
      return { kind: 'unsupported', reason: 'cannot get a ca_file: the file is not in block form' }
    const last = this.#lines.length - 1
    const after = this.#lines[last] === '' ? last - 1 : last
    const pending = this.#added.get(after) ?? []
    const isNew = pending.length === 0
    return this.#insert(
      after,
      line === undefined ? '' : indentOf(this.#lines[line] ?? ''),
      isNew ? entry : entry.slice(1),
      isNew ? 0 : 1,
    )
  }

  #insert(after: number, indent: string, entry: readonly string[], depth = 0): undefined {
    const end = this.#lines.some((line) => line.endsWith('\r')) ? '\r' : ''
    const lines = entry.map((text, index) => `${indent}${'  '.repeat(index + depth)}${text} ${MARK}${end}`)
    this.#added.set(after, [...(this.#added.get(after) ?? []), ...lines])
  }

  #isMarked(line: number): boolean {
    return this.#lines[line]?.trimEnd().endsWith(MARK) ?? false
  }

  /** Where the key stands first on its line; undefined elsewhere. */
  #lineOf(keys: readonly string[]): number | undefined {
    const node = this.#read.tree.nodes.get(pointerOf(keys))
    if (node === undefined) return undefined
    const { line, column } = this.#read.position(node.keyAt)
    return indentOf(this.#lines[line - 1] ?? '').length === column - 1 ? line - 1 : undefined
  }
}

function pointerOf(keys: readonly string[]): string {
  return keys.map((key) => `/${escapePointer(key)}`).join('')
}

function indentOf(line: string): string {
  return /^ */.exec(line)?.[0] ?? ''
}

/** The lines of others keep their bytes, and their values are the same; of ours there are those expected. */
function isAsMeant(before: string, after: string, expected: ReadonlyMap<string, string>, ownFolder: string): boolean {
  const [was, is] = [readRegistries(before), readRegistries(after)]
  if (!was.ok || !is.ok) return false
  return (
    isDeepStrictEqual(linesOfOthers(before), linesOfOthers(after)) &&
    JSON.stringify(withoutOurs(was.value, ownFolder)) === JSON.stringify(withoutOurs(is.value, ownFolder)) &&
    isDeepStrictEqual([...namedIn(is.value, ownFolder)].toSorted(), [...expected].toSorted())
  )
}

function linesOfOthers(text: string): readonly string[] {
  return text.split('\n').filter((line) => !line.trimEnd().endsWith(MARK))
}

/** Without our keys, and without tables that hold nothing: k3s takes those for none. */
function withoutOurs(value: Table, ownFolder: string): unknown {
  const hosts = Object.entries(tableAt(value, 'configs')).flatMap(([host, settings]) => {
    if (!isTable(settings)) return settings === null ? [] : [[host, settings] as const]
    const { ca_file: file, ...others } = tableAt(settings, 'tls')
    const tls = isOurs(file, ownFolder) ? others : settings['tls']
    const rest = Object.entries({ ...settings, tls }).filter(([, one]) => !isEmpty(one))
    return rest.length === 0 ? [] : [[host, Object.fromEntries(rest)] as const]
  })
  const configs = value['configs'] === null || isTable(value['configs']) ? Object.fromEntries(hosts) : value['configs']
  return Object.fromEntries(
    Object.entries({ ...value, configs }).filter(([key, one]) => key !== 'configs' || !isEmpty(one)),
  )
}

function isEmpty(value: unknown): boolean {
  return value === null || value === undefined || (isTable(value) && Object.keys(value).length === 0)
}
