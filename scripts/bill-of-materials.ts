// What the image is made of, as CycloneDX and as a list of licences, from package-lock.json. The rule: the same
// packages give the same bytes, so there is neither a time nor a random number in it. (`npm sbom --omit dev` leaves out
// what a development package needs too.)

export type Lock = {
  readonly name: string
  readonly version: string
  readonly packages: { readonly [path: string]: LockedPackage }
}

type LockedPackage = {
  readonly name?: string
  readonly version?: string
  readonly license?: string
  readonly integrity?: string
  /** Only development packages need it. */
  readonly dev?: boolean
}

export type Component = {
  readonly type: string
  readonly 'bom-ref': string
  readonly name: string
  readonly version: string
  readonly purl: string
  readonly licenses: readonly [{ readonly license: { readonly id: string } } | { readonly expression: string }]
  readonly hashes?: readonly { readonly alg: string; readonly content: string }[]
}

export type Bom = {
  readonly bomFormat: 'CycloneDX'
  readonly specVersion: '1.5'
  readonly version: 1
  readonly metadata: { readonly component: Component }
  readonly components: readonly Component[]
}

/** The packages that carry the Node binary are told as what they are: Node. */
const NODE_PACKAGE = /^node-linux-/

export function billOfMaterials(lock: Lock, nodeVersion: string): Bom {
  const packages = Object.entries(lock.packages)
    .filter(([path, { dev }]) => path !== '' && dev !== true)
    .map(([path, locked]) => packageComponent(path.slice(path.lastIndexOf('node_modules/') + 13), locked))
    .filter(({ name }) => !NODE_PACKAGE.test(name))
  const node = component('platform', 'node', nodeVersion, `pkg:generic/node@${nodeVersion}`, 'MIT')
  const self = component('application', lock.name, lock.version, `pkg:npm/${lock.name}@${lock.version}`, 'Apache-2.0')
  // One package may lie in several places of the tree.
  const each = new Map([...packages, node].map((part) => [part['bom-ref'], part]))
  const components = [...each.values()].toSorted((a, b) => (a['bom-ref'] < b['bom-ref'] ? -1 : 1))
  return { bomFormat: 'CycloneDX', specVersion: '1.5', version: 1, metadata: { component: self }, components }
}

function packageComponent(
  name: string,
  { version = '0', license = 'NOASSERTION', integrity }: LockedPackage,
): Component {
  const part = component('library', name, version, `pkg:npm/${name.replace('@', '%40')}@${version}`, license)
  const digest = /^sha512-(.+)$/.exec(integrity ?? '')?.[1]
  if (digest === undefined) return part
  return { ...part, hashes: [{ alg: 'SHA-512', content: Buffer.from(digest, 'base64').toString('hex') }] }
}

function component(type: string, name: string, version: string, purl: string, licence: string): Component {
  const told = /[ (]/.test(licence) ? { expression: licence } : { license: { id: licence } }
  return { type, 'bom-ref': `${name}@${version}`, name, version, purl, licenses: [told] }
}

export function licenceOf({ licenses: [told] }: Component): string {
  return 'license' in told ? told.license.id : told.expression
}

export function licenceList({ components }: Bom): string {
  return components.map((part) => `${part.name} ${part.version}: ${licenceOf(part)}\n`).join('')
}
