// One file of the configuration: bytes → text → YAML → schema. What is left for the checks across files is plain values
// with places.
// This room: a file of the configuration as values with line and column, and the words for what is wrong with it.
// Begin here; then report.ts (problems with places), input-lookup.ts (files beside it), declared.ts (one entry).
// May touch: files of the configuration through the port InputFiles.
import { posix } from 'node:path'
import { parseYaml, type YamlTree } from '../../text/yaml-tree.ts'
import { TRUST_SCHEMA } from '../schema/schema.ts'
import type { Validator } from '../schema/validate.ts'
import type { Place, Report } from './report.ts'

export const CONFIG_MAX_BYTES = 1024 * 1024

export type RawFile = {
  /** As named on the command line or found below it; used in messages. */
  readonly path: string
  readonly order: number
  /**
   * Not written by the author of trust.yaml: a file of registries.d, or of a --config folder after the first one. It
   * may declare anchors and registries, not settings, and name files of its own folder alone.
   */
  readonly isFragment: boolean
  /** The folder below which a fragment may name files, where it is not the folder that the fragment lies in. */
  readonly reach?: string
  readonly bytes: Buffer
  /**
   * Of a text that the agent made of somebody else's file: where a key (a JSON pointer) and what lies below it stand in
   * that file.
   */
  readonly origins?: ReadonlyMap<string, Origin>
}

/** `subject`: how the key is called in the user's file. */
export type Origin = { readonly line: number; readonly column: number; readonly subject: string }

export type ConfigFile = {
  readonly path: string
  readonly folder: string
  readonly isFragment: boolean
  readonly reach?: string
  readonly value: { readonly [key: string]: unknown }
  place(pointer: string, at: 'key' | 'value'): Place
  /** The key path for people: `registries[0].host`. */
  subject(pointer: string): string
  /** True when the schema accepts the value there and everything below it, unknown keys aside. */
  isSound(pointer: string): boolean
}

/** Reports what is wrong; `undefined` when nothing in the file can be used for further checks. */
export function readConfigFile(file: RawFile, validate: Validator, report: Report): ConfigFile | undefined {
  const decoded = decodeText(file.bytes)
  if ('reason' in decoded) {
    report.addFile('CONFIG_INVALID', file.path, file.order, decoded.reason)
    return undefined
  }
  const { tree, problems, position } = parseYaml(decoded.text)
  const at = (offset: number): Place => ({ file: file.path, order: file.order, ...position(offset) })
  for (const problem of problems) report.add('CONFIG_INVALID', at(problem.at), '', problem.text)
  if (tree === undefined) return undefined
  if (tree.value === null || tree.value === undefined) {
    report.addFile('CONFIG_INVALID', file.path, file.order, EMPTY)
    return undefined
  }
  const broken = reportSchema(file, tree, at, validate, report)
  if (typeof tree.value !== 'object' || Array.isArray(tree.value)) return undefined
  const result = describeFile(file, tree, at, broken)
  if (file.isFragment) refuseSettings(result, report)
  return result
}

const EMPTY =
  'the file is empty; the smallest useful content is "registries: [{ host: harbor.example.net, ca: corp-root.pem }]"'

function reportSchema(
  file: RawFile,
  tree: YamlTree,
  at: (offset: number) => Place,
  validate: Validator,
  report: Report,
): ReadonlySet<string> {
  const broken = new Set<string>()
  for (const problem of validate(tree)) {
    const node = tree.nodes.get(problem.pointer)
    const offset = problem.at === 'key' ? node?.keyAt : node?.valueAt
    const place = file.origins === undefined ? at(offset ?? 0) : placeOf(file, problem.pointer)
    report.add('CONFIG_INVALID', place, originOf(file, problem.pointer)?.subject ?? problem.subject, problem.text)
    if (problem.at === 'value' || problem.pointer.startsWith('/anchors/')) addWithParents(broken, problem.pointer)
  }
  return broken
}

function addWithParents(broken: Set<string>, pointer: string): void {
  for (let end = pointer.length; end > 0; end = pointer.lastIndexOf('/', end - 1)) broken.add(pointer.slice(0, end))
}

function describeFile(
  file: RawFile,
  tree: YamlTree,
  at: (offset: number) => Place,
  broken: ReadonlySet<string>,
): ConfigFile {
  return {
    path: file.path,
    folder: posix.dirname(file.path),
    isFragment: file.isFragment,
    ...(file.reach === undefined ? {} : { reach: file.reach }),
    value: tree.value as { readonly [key: string]: unknown },
    place: (pointer, which) => {
      if (file.origins !== undefined) return placeOf(file, pointer)
      const node = tree.nodes.get(pointer)
      return at((which === 'key' ? node?.keyAt : node?.valueAt) ?? 0)
    },
    subject: (pointer) => originOf(file, pointer)?.subject ?? tree.nodes.get(pointer)?.path ?? '',
    isSound: (pointer) => !broken.has(pointer),
  }
}

function placeOf(file: RawFile, pointer: string): Place {
  const { line, column } = originOf(file, pointer) ?? { line: 1, column: 1 }
  return { file: file.path, order: file.order, line, column }
}

/** Of the key itself, else of the nearest one above it. */
function originOf({ origins }: RawFile, pointer: string): Origin | undefined {
  if (origins === undefined) return undefined
  for (let end = pointer.length; end > 0; end = pointer.lastIndexOf('/', end - 1)) {
    const origin = origins.get(pointer.slice(0, end))
    if (origin !== undefined) return origin
  }
  return undefined
}

/** A team that may add its registries must not be able to change the policy for all. */
function refuseSettings(file: ConfigFile, report: Report): void {
  for (const key of Object.keys(TRUST_SCHEMA.properties)) {
    if (key === 'anchors' || key === 'registries') continue
    if (file.value[key] === undefined) continue
    const text = 'belongs in the first trust.yaml: a fragment may hold only anchors and registries'
    report.add('CONFIG_INVALID', file.place(`/${key}`, 'key'), key, text)
  }
}

type DecodedText = { readonly text: string } | { readonly reason: string }

/** The text of a file, or the reason why it is none. */
export function decodeText(bytes: Buffer): DecodedText {
  if ((bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff)) {
    return { reason: 'the file is UTF-16: save it as UTF-8' }
  }
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    return { reason: 'the file is not UTF-8 text' }
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: YAML forbids exactly these
  const control = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/.exec(text)
  if (control === null) return { text }
  const line = text.slice(0, control.index).split('\n').length
  return { reason: `the file holds a control character in line ${line}: it is not YAML text` }
}
