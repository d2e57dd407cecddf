// Finds an anchor or a registry of the desired state by its name. These lists never change once they are made, so each
// is indexed once, however often it is asked.
import type { Registry, TrustAnchor } from './desired-state.ts'

type Index<T> = ReadonlyMap<string, T>

const anchorsByName = new WeakMap<readonly TrustAnchor[], Index<TrustAnchor>>()
const registriesByHost = new WeakMap<readonly Registry[], Index<Registry>>()

/** The first anchor of this name. */
export function anchorNamed(anchors: readonly TrustAnchor[], name: string): TrustAnchor | undefined {
  return indexOf(anchors, anchorsByName, (anchor) => anchor.name).get(name)
}

/** The first registry of this host, as it is declared: `host` or `host:port`. */
export function registryOf(registries: readonly Registry[], host: string): Registry | undefined {
  return indexOf(registries, registriesByHost, (registry) => registry.host).get(host)
}

function indexOf<T>(
  items: readonly T[],
  known: WeakMap<readonly T[], Index<T>>,
  nameOf: (item: T) => string,
): Index<T> {
  const before = known.get(items)
  if (before !== undefined) return before
  const index = new Map<string, T>()
  for (const item of items) if (!index.has(nameOf(item))) index.set(nameOf(item), item)
  known.set(items, index)
  return index
}
