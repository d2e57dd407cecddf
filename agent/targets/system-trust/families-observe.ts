// The stores of the other distributions: where they lie, which sources they would hold, and what is there now.
import { posix } from 'node:path'
import type { Certificate, TrustAnchor } from '../../model/desired-state.ts'
import type { FileState, NodeFiles } from '../../model/ports.ts'
import type { TargetInput } from '../../model/target.ts'
import { readBundle } from './bundle.ts'

export const TARGET = 'system-trust'

export type Family = {
  /** Folder of sources; undefined: the bundle is all there is. */
  readonly sources?: string
  readonly bundle: string
}

/** The first whose bundle is there counts. Debian, Ubuntu and Alpine are system-trust.ts, as is every folder /etc/ssl/certs. */
export const FAMILIES: { readonly [name: string]: Family } = {
  rhel: { sources: '/etc/pki/ca-trust/source/anchors', bundle: '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem' },
  suse: { sources: '/etc/pki/trust/anchors', bundle: '/var/lib/ca-certificates/ca-bundle.pem' },
  photon: { bundle: '/etc/pki/tls/certs/ca-bundle.crt' },
}

export type AnchorInput = Pick<TargetInput, 'desired' | 'owned'>
export type Source = { readonly path: string; readonly anchor: string; readonly certificate: Certificate }

export type ObservedAnchorStore = {
  readonly family: Family | undefined
  readonly isWritable: boolean
  readonly bundle: FileState
  readonly sources: ReadonlyMap<string, FileState>
}

export async function observeAnchorStore(input: AnchorInput, files: NodeFiles): Promise<ObservedAnchorStore> {
  const none = { family: undefined, isWritable: false, bundle: { kind: 'absent' }, sources: new Map() } as const
  for (const family of Object.values(FAMILIES)) {
    const bundle = await readBundle(family.bundle, files)
    if (bundle.kind !== 'file') continue
    const sources = new Map<string, FileState>()
    for (const { path } of sourcesOf(family, input)) sources.set(path, await files.read(path))
    for (const path of ownedSources(family, input.owned)) sources.set(path, await files.read(path))
    const folders = [posix.dirname(family.bundle), ...(family.sources === undefined ? [] : [family.sources])]
    const writable = await Promise.all(folders.map((folder) => files.isWritable(folder)))
    return { family, isWritable: writable.every((one) => one), bundle, sources }
  }
  return none
}

export function sourcesOf(family: Family, { desired }: AnchorInput): readonly Source[] {
  if (desired.targets.systemTrust.enabled === 'off') return []
  const seen = new Set<string>()
  const place = ({ name, certificates }: TrustAnchor) =>
    certificates.map((certificate, index) => {
      const fileName = desired.targets.systemTrust.fileName.replace(
        '{name}',
        index === 0 ? name : `${name}-${index + 1}`,
      )
      return { path: `${family.sources ?? posix.dirname(family.bundle)}/${fileName}`, anchor: name, certificate }
    })
  return desired.anchors
    .flatMap(place)
    .filter(({ certificate }) => !seen.has(certificate.fingerprint) && seen.add(certificate.fingerprint))
}

export function ownedSources({ sources }: Family, owned: AnchorInput['owned']): readonly string[] {
  if (sources === undefined) return []
  return Object.keys(owned).filter((path) => owned[path]?.target === TARGET && path.startsWith(`${sources}/`))
}
