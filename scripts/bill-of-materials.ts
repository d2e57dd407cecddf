// What the image is made of, as CycloneDX and as a list of licences. The rule: the same packages give the same bytes, so the time and the
// random number that npm puts in are taken out.

export type Component = {
  readonly name: string
  readonly version: string
  readonly purl: string
  readonly licenses?: readonly {
    readonly license?: { readonly id?: string; readonly name?: string }
    readonly expression?: string
  }[]
  readonly [key: string]: unknown
}

export type Bom = {
  readonly bomFormat: string
  readonly specVersion: string
  readonly metadata: { readonly [key: string]: unknown }
  readonly components: readonly Component[]
  readonly [key: string]: unknown
}

/** The packages that carry the Node binary are told as what they are: Node. */
const NODE_PACKAGE = /^node-linux-/

export function reproducible(bom: Bom, nodeVersion: string): Bom {
  const { serialNumber: _, metadata, components, ...rest } = bom
  const { timestamp: __, ...kept } = metadata
  const node: Component = {
    'bom-ref': `node@${nodeVersion}`,
    type: 'platform',
    name: 'node',
    version: nodeVersion,
    purl: `pkg:generic/node@${nodeVersion}`,
    licenses: [{ license: { id: 'MIT' } }],
  }
  const packages = components.filter(({ name }) => !NODE_PACKAGE.test(name)).map(withoutAddresses)
  return { ...rest, metadata: kept, components: [...packages, node].toSorted(byName) } as Bom
}

/** Where a package was fetched from is a fact of the machine that built it, not of the package. */
function withoutAddresses({ externalReferences: _, ...component }: Component): Component {
  return component as Component
}

function byName(a: Component, b: Component): number {
  return a.name === b.name ? a.version.localeCompare(b.version) : a.name < b.name ? -1 : 1
}

export function licenceOf({ licenses }: Component): string {
  const [first] = licenses ?? []
  return first?.license?.id ?? first?.license?.name ?? first?.expression ?? 'unknown'
}

export function licenceList({ components }: Bom): string {
  return components.map((component) => `${component.name} ${component.version}: ${licenceOf(component)}\n`).join('')
}
