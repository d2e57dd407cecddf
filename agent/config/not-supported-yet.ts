// What the schema knows and this version does not do. Such a key is refused at its position, never silently ignored:
// a mirror or a client certificate that "was configured" and does nothing is worse than an error.
// A feature that is built deletes its line here.

type Unsupported = {
  /** `*` stands for any one key or index. */
  readonly path: readonly string[]
  /** Absent: any value but `undefined`. */
  readonly refuses?: (value: unknown) => boolean
  readonly what: string
}

const is = (word: string) => (value: unknown) => value === word

const UNSUPPORTED: readonly Unsupported[] = [
  { path: ['targets', 'containerd', 'layout'], what: 'layout: legacy', refuses: is('legacy') },
]

/** What `value` at these keys asks for that is not there yet; `undefined`: nothing. */
export function notSupportedYet(keys: readonly string[], value: unknown): string | undefined {
  const found = UNSUPPORTED.find(
    ({ path, refuses }) =>
      path.length === keys.length &&
      path.every((key, index) => key === '*' || key === keys[index]) &&
      (refuses === undefined || refuses(value)),
  )
  return found === undefined ? undefined : `is not supported yet: this version does not do ${found.what}`
}
