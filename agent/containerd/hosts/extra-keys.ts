// Keys of an endpoint in hosts.toml that trust.yaml has no name for (`extra`), by containerd version. containerd says
// nothing of a key that it does not know, so that no rehearsal can refuse it: this table does. Pure.
// Source: core/remotes/docker/config/hosts.go (hostFileConfig) of containerd 1.6 to 2.4.
import type { Extra } from '../../model/desired-state.ts'
import type { TomlItem } from '../../text/toml.ts'
import { type ContainerdVersion, isAtLeast } from '../config/schema-version.ts'

type ExtraKey = {
  /** The first version line that reads it. */
  readonly since: readonly [major: number, minor: number]
  readonly accepts: (value: TomlItem) => boolean
  readonly expected: string
}

const EXTRA_KEYS: ReadonlyMap<string, ExtraKey> = new Map([
  ['dial_timeout', { since: [2, 1], accepts: isDuration, expected: 'a duration of Go, as "30s"' }],
])

/** What every version line up to this one reads is known. */
const NEWEST_KNOWN = [2, 4] as const

/** Keys that trust.yaml says in its own words, with what it says instead. */
const NAMED_OTHERWISE: ReadonlyMap<string, string> = new Map([
  ['ca', 'anchors'],
  ['capabilities', 'capabilities of a mirror'],
  ['client', 'clientCertificate'],
  ['header', 'headers'],
  ['host', 'mirrors'],
  ['override_path', 'overridePath of a mirror'],
  ['server', 'host'],
  ['skip_verify', 'skipVerify'],
])

/** Why the key cannot be declared, whatever the version; undefined: it can. */
export function wrongExtra(key: string, value: Extra[string]): string | undefined {
  const name = NAMED_OTHERWISE.get(key)
  if (name !== undefined) return `has a name of its own in trust.yaml: ${name}`
  const known = EXTRA_KEYS.get(key)
  return known === undefined || known.accepts(value as TomlItem) ? undefined : `must be ${known.expected}`
}

export type ExtraVerdict =
  | { readonly kind: 'read' | 'unknown' }
  /** The version line that reads it first. */
  | { readonly kind: 'too-new'; readonly since: string }
  /** It is not known whether this containerd reads it: it is newer than the table, or says no version. */
  | { readonly kind: 'untold' }

export function judgeExtra(key: string, version: ContainerdVersion | undefined): ExtraVerdict {
  const known = EXTRA_KEYS.get(key)
  if (version === undefined) return { kind: 'untold' }
  if (known !== undefined)
    return isAtLeast(version, ...known.since) ? { kind: 'read' } : { kind: 'too-new', since: known.since.join('.') }
  const isNewer = isAtLeast(version, NEWEST_KNOWN[0], NEWEST_KNOWN[1] + 1)
  return isNewer ? { kind: 'untold' } : { kind: 'unknown' }
}

/** Go's time.ParseDuration. */
export function isDuration(item: TomlItem): boolean {
  return typeof item === 'string' && /^(?:0|[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+|[+-]0)?$/.test(item)
}
