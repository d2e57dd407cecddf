// Any TOML text, any key: the edit is right by the judgement of a third reading, and touches nothing else.
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import t from 'tap'
import { getStaticTOMLValue, parseTOML } from 'toml-eslint-parser'
import { AgentError } from '../../agent/model/errors.ts'
import { itemAt, parseToml, type TomlTable } from '../../agent/text/toml.ts'
import { type Edit, editKeys, removeKey, setKey } from '../../agent/text/toml-edit.ts'

const path = 'config.toml'
const NAMES = ['a', 'b', 'config_path', 'io.x', 'é 😀']
const name = fc.constantFrom(...NAMES)
const spelled = name.chain((text) =>
  /^\w+$/.test(text) ? fc.constantFrom(text, `"${text}"`, `'${text}'`) : fc.constantFrom(`"${text}"`, `'${text}'`),
)
const dotted = (maxLength: number) =>
  fc
    .tuple(fc.array(spelled, { minLength: 1, maxLength }), fc.constantFrom('.', ' . '))
    .map(([parts, dot]) => parts.join(dot))
const scalar = fc.constantFrom(
  '1',
  '""',
  "'x'",
  'true',
  '"é😀"',
  '[ "p",\n "q" ]',
  '[]',
  '1.5',
  '"""m\nn"""',
  '2020-01-02T03:04:05Z',
)
const inline = fc.dictionary(name, scalar, { maxKeys: 2 }).map((table) => {
  const pairs = Object.entries(table).map(([key, value]) => `'${key}' = ${value}`)
  return pairs.length === 0 ? '{}' : `{ ${pairs.join(' ,')} }`
})
const tail = fc.constantFrom('', ' # c', '\t', ' # "[a]"')
const indent = fc.constantFrom('', '  ', '\t')
const line = fc.oneof(
  {
    weight: 4,
    arbitrary: fc
      .tuple(indent, dotted(2), fc.oneof({ weight: 3, arbitrary: scalar }, { weight: 1, arbitrary: inline }), tail)
      .map(([i, k, v, c]) => `${i}${k} = ${v}${c}`),
  },
  { weight: 3, arbitrary: fc.tuple(indent, dotted(3), tail).map(([i, k, c]) => `${i}[${k}]${c}`) },
  { weight: 1, arbitrary: fc.tuple(dotted(1), tail).map(([k, c]) => `[[${k}]]${c}`) },
  { weight: 1, arbitrary: fc.constantFrom('', '# comment', '  # [a.b]') },
)
/** Lines are taken in as long as the text stays valid for both readers, so that long texts are not all thrown away. */
const document = fc
  .tuple(fc.array(line, { maxLength: 12 }), fc.constantFrom('\n', '\r\n'), fc.boolean())
  .map(([lines, end, isTerminated]) => {
    const kept: string[] = []
    for (const one of lines) if (isValid([...kept, one].join('\n'))) kept.push(one)
    const text = kept.join('\n').replaceAll('\n', end)
    return isTerminated && text !== '' ? text + end : text
  })
const key = fc.array(name, { minLength: 1, maxLength: 3 })
const value = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 12 }),
  fc.constant(true),
  fc.constant(7),
  fc.constant(['x', 'y']),
)

function read(text: string): TomlTable {
  return parseToml(text, { path, code: 'CONTAINERD_CONFIG_UNREADABLE' })
}

function isValid(text: string): boolean {
  try {
    read(text)
    parseTOML(text, { tomlVersion: '1.0' })
    return true
  } catch {
    return false
  }
}

type Plain = { [key: string]: unknown }

function isPlain(item: unknown): item is Plain {
  return typeof item === 'object' && item !== null && !Array.isArray(item) && !(item instanceof Date)
}

/** The third reading: the value as toml-eslint-parser evaluates it, not the reader that the edit checks itself with. */
function evaluate(text: string): Plain {
  const result: unknown = JSON.parse(JSON.stringify(getStaticTOMLValue(parseTOML(text, { tomlVersion: '1.0' }))))
  return isPlain(result) ? result : {}
}

function canHold(table: unknown, [first = '', ...rest]: readonly string[]): boolean {
  if (!isPlain(table)) return false
  if (!Object.hasOwn(table, first)) return true
  return rest.length === 0 ? !isTabular(table[first]) : canHold(table[first], rest)
}

function isTabular(item: unknown): boolean {
  return isPlain(item) || (Array.isArray(item) && item.some(isPlain))
}

function assign(table: Plain, [first = '', ...rest]: readonly string[], wanted: unknown): Plain {
  const inner = table[first]
  return { ...table, [first]: rest.length === 0 ? wanted : assign(isPlain(inner) ? inner : {}, rest, wanted) }
}

function omit(table: Plain, [first = '', ...rest]: readonly string[]): Plain {
  const { [first]: inner, ...others } = table
  if (rest.length === 0 || !isPlain(inner)) return others
  const kept = omit(inner, rest)
  return Object.keys(kept).length === 0 ? others : { ...others, [first]: kept }
}

/** Text = head + middle + tail and edited = head + other + tail, with head and tail as long as can be. */
function difference(text: string, edited: string): { removed: string; inserted: string } {
  const shorter = Math.min(text.length, edited.length)
  let head = 0
  while (head < shorter && text[head] === edited[head]) head++
  let end = 0
  while (end < shorter - head && text[text.length - 1 - end] === edited[edited.length - 1 - end]) end++
  return { removed: text.slice(head, text.length - end), inserted: edited.slice(head, edited.length - end) }
}

t.test('setting a key changes that key and no other byte', async (t) => {
  let edits = 0
  const property = fc.asyncProperty(document, key, value, async (text, path_, wanted) => {
    const before = evaluate(text)
    let edited: string
    try {
      edited = await setKey(text, path_, wanted, { path })
    } catch (thrown) {
      // The only texts that may be refused are those where the key cannot be set at all.
      return thrown instanceof AgentError && thrown.code === 'CONFIG_EDIT_UNSUPPORTED' && !canHold(before, path_)
    }
    edits++
    const { removed } = difference(text, edited)
    const old = itemAt(read(text), path_)
    const isReplaced = old !== undefined && !isDeepStrictEqual(old, wanted)
    return (
      isDeepStrictEqual(evaluate(edited), JSON.parse(JSON.stringify(assign(before, path_, wanted)))) &&
      (isReplaced || removed === '') &&
      (await setKey(edited, path_, wanted, { path })) === edited
    )
  })
  await fc.assert(property, { numRuns: 400 })
  t.ok(edits > 200, `${edits} of 400 texts could hold the key`)
})

t.test('setting a key inserts whole lines with the line ends of the file, or replaces within a line', async () => {
  const property = fc.asyncProperty(document, key, async (text, path_) => {
    if (!canHold(evaluate(text), path_)) return true
    const edited = await setKey(text, path_, 'v', { path })
    const isCrlf = text.includes('\r\n')
    const strayLf = /(^|[^\r])\n/.test(edited)
    return !text.includes('\n') || (isCrlf ? !strayLf : !edited.includes('\r'))
  })
  await fc.assert(property, { numRuns: 200 })
})

t.test('removing a key removes that key and nothing else', async (t) => {
  let removals = 0
  const property = fc.asyncProperty(document, key, async (text, path_) => {
    const edited = await removeKey(text, path_, { path })
    if (edited !== text) removals++
    const kept = edited.split(/\r?\n/)
    // The line of an inline table, or its last one where it spans several, loses its part and keeps the rest.
    const isMadeOfOldLines = kept.every((one) => text.includes(one) || /[{}]/.test(one))
    return (
      isMadeOfOldLines &&
      isDeepStrictEqual(omit(evaluate(edited), path_), omit(evaluate(text), path_)) &&
      itemAt(read(edited), path_) === undefined
    )
  })
  await fc.assert(property, { numRuns: 400 })
  t.ok(removals > 40, `${removals} of 400 texts had the key`)
})

t.test('edits made at once mean what they mean one after the other', async (t) => {
  const edit: fc.Arbitrary<Edit> = fc.oneof(
    fc.record({ kind: fc.constant('set'), key, value }),
    fc.record({ kind: fc.constant('remove'), key }),
  )
  let compared = 0
  await fc.assert(
    fc.asyncProperty(document, fc.array(edit, { minLength: 2, maxLength: 4 }), async (text, edits) => {
      const single = await oneByOne(text, edits)
      if (single === undefined) return
      const together = await editKeys(text, edits, { path }).catch((thrown: unknown) => {
        if (thrown instanceof AgentError) return undefined
        throw thrown
      })
      if (together === undefined) throw new Error('refused together, possible one by one')
      compared += 1
      const [a, b] = [single, together].map((one) => parseToml(one, { path, code: 'INTERNAL' })) as [
        TomlTable,
        TomlTable,
      ]
      // An empty table may be left behind by one way and not by the other.
      if (!isDeepStrictEqual(withoutEmptyTables(a), withoutEmptyTables(b)))
        throw new Error(`${single}\n---\n${together}`)
    }),
    { numRuns: 400 },
  )
  t.ok(compared > 200, `${compared} compared`)
})

async function oneByOne(text: string, edits: readonly Edit[]): Promise<string | undefined> {
  try {
    let edited = text
    for (const { kind, key: name, ...rest } of edits)
      edited =
        kind === 'remove' || !('value' in rest)
          ? await removeKey(edited, name, { path })
          : await setKey(edited, name, rest.value, { path })
    return edited
  } catch (thrown) {
    if (thrown instanceof AgentError) return undefined
    throw thrown
  }
}

function withoutEmptyTables(item: unknown): unknown {
  if (typeof item !== 'object' || item === null || Array.isArray(item) || item instanceof Date) return item
  const entries = Object.entries(item).map(([name, inner]) => [name, withoutEmptyTables(inner)] as const)
  return Object.fromEntries(entries.filter(([, inner]) => !isDeepStrictEqual(inner, {})))
}
