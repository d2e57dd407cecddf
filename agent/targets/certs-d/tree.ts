// The trees of host folders that programs read in Docker's way, and what each of them should hold.
import { parseUrl } from '../../containerd/hosts/endpoint.ts'
import { type DesiredState, trustOf, trustOfMirror } from '../../model/desired-state.ts'
import type { RegularFile } from '../../model/plan.ts'
import type { AgentState } from '../../model/state.ts'
import type { TargetInput } from '../../model/target.ts'
import { rootFile } from '../files/files.ts'

export type CertsTree = {
  readonly target: 'docker' | 'containers' | 'k3s'
  /** `auto`: the target is on where this folder exists. */
  readonly base: string
  /** The host folders lie below it; by default `certs.d`. */
  readonly folder?: string
  /** Where the same programs look when this tree has no folder for a host. */
  readonly fallback?: string
}

export const DOCKER: CertsTree = { target: 'docker', base: '/etc/docker' }
export const CONTAINERS: CertsTree = { target: 'containers', base: '/etc/containers', fallback: '/etc/docker/certs.d' }

export function hostsFolderOf({ base, folder = 'certs.d' }: CertsTree): string {
  return `${base}/${folder}`
}

export const CA_FILE = 'ca.crt'

export type TreeInput = Pick<TargetInput, 'desired' | 'owned'> & Partial<Pick<TargetInput, 'unverified'>>

/** What one host folder should hold. */
export type Wanted = { readonly host: string; readonly ca: RegularFile }

/** Every declared host with anchors of its own; a host whose anchor is broken now keeps what it has. */
export function wantedHosts(desired: DesiredState, { target }: CertsTree): readonly Wanted[] {
  const found = new Map<string, Set<string>>()
  const add = (host: string, pems: readonly string[]) => {
    if (pems.length > 0) found.set(host, new Set([...(found.get(host) ?? []), ...pems]))
  }
  for (const registry of desired.registries) {
    const { certificates, held } = trustOf(registry, desired)
    // These tools have no folder for every host.
    if (held || registry.host === '*') continue
    add(
      registry.host,
      certificates.map(({ pem }) => pem),
    )
    // The containers tools ask mirrors too; dockerd does not.
    for (const mirror of target === 'containers' ? (registry.mirrors ?? []) : [])
      add(
        parseUrl(mirror.url)?.host ?? '',
        trustOfMirror(mirror, desired).map(({ pem }) => pem),
      )
  }
  return [...found].map(([host, pems]) => ({ host, ca: rootFile([...pems].join('')) }))
}

/** Of this tree alone: the target may own other files beside it. */
export function ownedBy(tree: CertsTree, owned: AgentState['owned']): AgentState['owned'] {
  const [{ base, target }, certs] = [tree, hostsFolderOf(tree)]
  const isHere = (path: string) => path === base || path === certs || path.startsWith(`${certs}/`)
  return Object.fromEntries(Object.entries(owned).filter(([path, owner]) => owner.target === target && isHere(path)))
}
