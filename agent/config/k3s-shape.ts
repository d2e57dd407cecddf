// What may stand where in the registries.yaml of k3s: its keys and the types of their values. k3s itself does not start
// with a value of another type, and drops keys that it does not know without a word; both are refused here.

export type ShapeProblem = { readonly pointer: readonly string[]; readonly text: string }

type Shape =
  | { readonly kind: 'table'; readonly keys: { readonly [key: string]: Shape } }
  /** Keys are names: hosts, patterns. */
  | { readonly kind: 'names'; readonly each: Shape }
  | { readonly kind: 'list'; readonly each: Shape }
  | { readonly kind: 'text' | 'truth' }

const TEXT: Shape = { kind: 'text' }

const REGISTRIES: Shape = table({
  mirrors: names(table({ endpoint: { kind: 'list', each: TEXT }, rewrite: names(TEXT) })),
  configs: names(
    table({
      auth: table({ username: TEXT, password: TEXT, auth: TEXT, identity_token: TEXT }),
      tls: table({ ca_file: TEXT, cert_file: TEXT, key_file: TEXT, insecure_skip_verify: { kind: 'truth' } }),
    }),
  ),
})

function table(keys: { readonly [key: string]: Shape }): Shape {
  return { kind: 'table', keys }
}

function names(each: Shape): Shape {
  return { kind: 'names', each }
}

/** The problems in the order of the file; values are never repeated, since some of them are passwords. */
export function shapeProblems(value: unknown): readonly ShapeProblem[] {
  const problems: ShapeProblem[] = []
  check(value, REGISTRIES, [], problems)
  return problems
}

const WORDS = { table: 'a map', names: 'a map', list: 'a list of addresses', text: 'text', truth: 'true or false' }

function check(value: unknown, shape: Shape, pointer: readonly string[], problems: ShapeProblem[]): void {
  // As in k3s: a key without a value says nothing. Not in a list, where each item counts.
  if (value === undefined || (value === null && !/^\d+$/.test(pointer[3] ?? ''))) return
  if (!isOfKind(value, shape.kind)) {
    problems.push({ pointer, text: `must be ${WORDS[shape.kind]}` })
    return
  }
  for (const [key, one] of Object.entries(value as object)) {
    const at = [...pointer, key]
    const below = belowOf(shape, key)
    if (below === undefined) problems.push({ pointer: at, text: unknownKey(key, pointer) })
    else if (below !== 'nothing') check(one, below, at, problems)
  }
}

/** `nothing`: a text has characters, which are no keys. */
function belowOf(shape: Shape, key: string): Shape | 'nothing' | undefined {
  if (shape.kind === 'table') return Object.hasOwn(shape.keys, key) ? shape.keys[key] : undefined
  return shape.kind === 'names' || shape.kind === 'list' ? shape.each : 'nothing'
}

function isOfKind(value: unknown, kind: Shape['kind']): boolean {
  if (kind === 'list') return Array.isArray(value)
  if (kind === 'text') return typeof value === 'string'
  if (kind === 'truth') return typeof value === 'boolean'
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function unknownKey(key: string, above: readonly string[]): string {
  if (key === '<<') return 'is a merge key, which is not read here: write its keys out'
  if (above.length === 0 && key === 'auths') return 'is not read by k3s any more: its place is configs'
  return 'is not a key that k3s reads'
}
