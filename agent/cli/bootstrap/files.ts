// The files that make a node trust the registries before the agent's own image is pulled: those that the agent would
// write, so that it then finds nothing to do. Pure.
// This room: trust.yaml as node provisioning wants it, one file per family of formats.
// Begin here; then render.ts (the formats).
// May touch: nothing; a text comes out.
import { hostDirectoryName } from '../../containerd/hosts/hosts-toml.ts'
import { type DesiredState, needsHostFolder, withWildcard } from '../../model/desired-state.ts'
import { hostFolderFiles } from '../../targets/containerd-hosts/files.ts'
import { placementsOf } from '../../targets/system-trust/placements.ts'

export type BootstrapFile = { readonly path: string; readonly mode: string; readonly content: string }

export type BootstrapFiles = {
  /** One certificate each, by the name that the agent gives it: `corp.pem`. */
  readonly anchors: readonly { readonly name: string; readonly pem: string }[]
  /** Host directories of containerd. */
  readonly hosts: readonly BootstrapFile[]
  /** Registries that are left to the agent, because their files hold what must not lie in user data. */
  readonly leftOut: readonly { readonly host: string; readonly why: string }[]
}

const NONE: ReadonlySet<string> = new Set()

export const CERTS_D = '/etc/containerd/certs.d'

export function bootstrapFiles(desired: DesiredState): BootstrapFiles {
  const anchors = placementsOf(desired).map(({ fileName, certificate }) => ({ name: fileName, pem: certificate.pem }))
  const wanted =
    desired.targets.containerd.enabled === 'off'
      ? []
      : withWildcard(desired).filter((registry) => needsHostFolder(registry, desired))
  // User data can be read by everybody who can read the machine's metadata.
  const isSecret = wanted.filter(({ clientCertificate }) => clientCertificate !== undefined)
  const open = wanted.filter((registry) => !isSecret.includes(registry))
  return {
    anchors,
    hosts: open.flatMap((registry) => {
      const folder = hostDirectoryName(registry.host, NONE)
      const files = hostFolderFiles({ registry, desired, overlap: [], isForSpegel: false })
      return files.map(({ name, content }) => ({
        path: `${CERTS_D}/${folder}/${name}`,
        mode: '0644',
        content: content.bytes.toString('utf8'),
      }))
    }),
    leftOut: isSecret.map(({ host }) => ({ host, why: 'its client key does not belong into user data' })),
  }
}
