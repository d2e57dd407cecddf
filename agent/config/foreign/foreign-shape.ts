// What may stand where in the registries.yaml of k3s and in containerd's registry tables: keys and the types of their
// values. Neither starts with a value of another type, and both silently drop keys that they do not know; both are
// refused here.

export type ShapeProblem = { readonly pointer: readonly string[]; readonly text: string }

type Shape =
  | { readonly kind: 'table'; readonly keys: { readonly [key: string]: Shape } }
  /** Keys are names: hosts, patterns. */
  | { readonly kind: 'names'; readonly each: Shape }
  | { readonly kind: 'list'; readonly each: Shape }
  | { readonly kind: 'text' | 'truth' }
  /** Left to the node, whatever it is. */
  | { readonly kind: 'theirs' }

const TEXT: Shape = { kind: 'text' }

const THEIRS: Shape = { kind: 'theirs' }
const TLS = table({ ca_file: TEXT, cert_file: TEXT, key_file: TEXT, insecure_skip_verify: { kind: 'truth' } })
const ADDRESSES: Shape = { kind: 'list', each: TEXT }

const SHAPES = {
  k3s: table({
    mirrors: names(table({ endpoint: ADDRESSES, rewrite: names(TEXT) })),
    configs: names(
      table({ auth: table({ username: TEXT, password: TEXT, auth: TEXT, identity_token: TEXT }), tls: TLS }),
    ),
  }),
  // `Registry` of containerd's pkg/cri/config/config.go.
  containerd: table({
    config_path: TEXT,
    mirrors: names(table({ endpoint: ADDRESSES })),
    configs: names(table({ auth: THEIRS, tls: TLS })),
    auths: THEIRS,
    headers: names({ kind: 'list', each: TEXT }),
  }),
}

export type Tool = keyof typeof SHAPES

function table(keys: { readonly [key: string]: Shape }): Shape {
  return { kind: 'table', keys }
}

function names(each: Shape): Shape {
  return { kind: 'names', each }
}

/** The problems in the order of the file; values are never repeated, since some of them are passwords. */
export function shapeProblems(value: unknown, tool: Tool): readonly ShapeProblem[] {
  const problems: ShapeProblem[] = []
  check(value, { tool, shape: SHAPES[tool], pointer: [] }, problems)
  return problems
}

const MAP = { k3s: 'a map', containerd: 'a table' }
const WORDS = { list: 'a list of addresses', text: 'text', truth: 'true or false' }

type Checked = { readonly tool: Tool; readonly shape: Shape; readonly pointer: readonly string[] }

function check(value: unknown, { tool, shape, pointer }: Checked, problems: ShapeProblem[]): void {
  // As in k3s: a key without a value says nothing. Not in a list, where each item counts.
  if (value === undefined || (value === null && !/^\d+$/.test(pointer[3] ?? ''))) return
  if (shape.kind === 'theirs') return
  if (!isOfKind(value, shape.kind)) {
    const word = shape.kind === 'table' || shape.kind === 'names' ? MAP[tool] : WORDS[shape.kind]
    problems.push({ pointer, text: `must be ${word}` })
    return
  }
  for (const [key, one] of Object.entries(value as object)) {
    const at = [...pointer, key]
    const below = belowOf(shape, key)
    if (below === undefined) problems.push({ pointer: at, text: unknownKey(key, pointer, tool) })
    else if (below !== 'nothing') check(one, { tool, shape: below, pointer: at }, problems)
  }
}

/** `nothing`: a text has characters, which are not keys. */
function belowOf(shape: Shape, key: string): Shape | 'nothing' | undefined {
  if (shape.kind === 'table') return Object.hasOwn(shape.keys, key) ? shape.keys[key] : undefined
  return shape.kind === 'names' || shape.kind === 'list' ? shape.each : 'nothing'
}

function isOfKind(value: unknown, kind: Shape['kind']): boolean {
  if (kind === 'list') return Array.isArray(value)
  if (kind === 'text') return typeof value === 'string'
  if (kind === 'truth') return typeof value === 'boolean'
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)
}

function unknownKey(key: string, above: readonly string[], tool: Tool): string {
  if (tool === 'containerd') {
    const isCut = above.length === 2 && (above[0] === 'mirrors' || above[0] === 'configs')
    const hint = isCut ? `: a host with dots needs quotes, as in registry.${above[0]}."${above[1]}.${key}"` : ''
    return `is not a key that containerd reads${hint}`
  }
  if (key === '<<') return 'is a merge key, which is not read here: write its keys out'
  if (above.length === 0 && key === 'auths') return 'is not read by k3s any more: its place is configs'
  return 'is not a key that k3s reads'
}
