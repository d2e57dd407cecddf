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

const REGISTRY = ['registries', '*'] as const
const isTrue = (value: unknown) => value === true
const isFalse = (value: unknown) => value === false
const is = (word: string) => (value: unknown) => value === word

const UNSUPPORTED: readonly Unsupported[] = [
  { path: [...REGISTRY, 'clientCertificate'], what: 'client certificates' },
  { path: [...REGISTRY, 'mirrors'], what: 'mirrors', refuses: (value) => !Array.isArray(value) || value.length > 0 },
  { path: [...REGISTRY, 'fallback'], what: 'fallback: false', refuses: isFalse },
  { path: [...REGISTRY, 'skipVerify'], what: 'skipVerify: true', refuses: isTrue },
  { path: [...REGISTRY, 'plainHttp'], what: 'plainHttp: true', refuses: isTrue },
  { path: ['targets', 'containerd', 'layout'], what: 'layout: legacy', refuses: is('legacy') },
]

/** A registry with this host stands for all hosts; besides this line it needs policy.allowWildcard. */
export const WILDCARD_IS_SUPPORTED: boolean = false

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
