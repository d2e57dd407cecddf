// Finds an anchor or a registry of the desired state by its name. These lists never change once they are made, so each
// is indexed once, however often it is asked.

const indexes = new WeakMap<object, ReadonlyMap<string, unknown>>()

/** The first anchor of this name. */
export function anchorNamed<T extends { readonly name: string }>(anchors: readonly T[], name: string): T | undefined {
  return indexOf(anchors, (anchor) => anchor.name).get(name)
}

/** The first registry of this host, as it is declared: `host` or `host:port`. */
export function registryOf<T extends { readonly host: string }>(registries: readonly T[], host: string): T | undefined {
  return indexOf(registries, (registry) => registry.host).get(host)
}

/** A list is asked by one kind of name alone: anchors by name, registries by host. */
function indexOf<T>(items: readonly T[], nameOf: (item: T) => string): ReadonlyMap<string, T> {
  const known = indexes.get(items)
  if (known !== undefined) return known as ReadonlyMap<string, T>
  const index = new Map<string, T>()
  for (const item of items) if (!index.has(nameOf(item))) index.set(nameOf(item), item)
  indexes.set(items, index)
  return index
}
