// The generation: a short name for everything that decides what is written to the node, and how. Independent of the
// order of declarations, of where the input lay and of when it was read; `mode`, proofs, drift and the log write
// nothing.
import { createHash } from 'node:crypto'
import type { DesiredState, Registry } from '../model/desired-state.ts'

type GenerationInput = Pick<
  DesiredState,
  'anchors' | 'registries' | 'wildcard' | 'targets' | 'restart' | 'distrust' | 'sandboxImage'
>

export function generationOf(desired: GenerationInput): string {
  const { restart } = desired
  const { systemTrust, containerd, docker, containers, k3s, crictl, hostsFile, ...others } = desired.targets
  // The compiler asks here for a target that is new.
  others satisfies { readonly [key: string]: never }
  const byFirst = (left: readonly [string, ...unknown[]], right: readonly [string, ...unknown[]]) =>
    left[0] < right[0] ? -1 : 1
  // Arrays only: JSON of them has one spelling.
  const canonical = [
    desired.anchors
      .map(({ name, certificates, scope }) => {
        const fingerprints = certificates.map(({ fingerprint }) => fingerprint)
        // Left out where it is as it was before there was a scope.
        return scope === 'registries' ? ([name, fingerprints, scope] as const) : ([name, fingerprints] as const)
      })
      .toSorted(byFirst),
    [...desired.registries, ...(desired.wildcard === undefined ? [] : [desired.wildcard])]
      .map((registry) => [registry.host, contentOf(registry)] as const)
      .toSorted(byFirst),
    [systemTrust.enabled, systemTrust.fileName, containerd.enabled, containerd.layout],
    [docker.enabled, containers.enabled],
    ...laterTargets({ k3s, crictl, hostsFile }),
    ...(desired.distrust === undefined ? [] : [['distrust', desired.distrust.fingerprints.toSorted()]]),
    ...(desired.sandboxImage === undefined ? [] : [['sandboxImage', desired.sandboxImage]]),
    [restart.strategy, restart.unit, restart.maxPerHour, restart.backoffMinMs, restart.backoffMaxMs],
  ]
  return createHash('sha256').update(JSON.stringify(canonical)).digest('hex').slice(0, 12)
}

/** Left out while they are as by default, so that a new version of the agent is no new state of the node. */
function laterTargets({
  k3s,
  crictl,
  hostsFile,
}: Pick<DesiredState['targets'], 'k3s' | 'crictl' | 'hostsFile'>): readonly (readonly string[])[] {
  return [
    ...(k3s.enabled === 'auto' && crictl.enabled === 'off' ? [] : [[k3s.enabled, crictl.enabled]]),
    ...(hostsFile.enabled === 'on' ? [] : [['hostsFile', hostsFile.enabled]]),
  ]
}

/**
 * What is rendered of a registry, besides its anchors' certificates. A plain one is as it was before there was more.
 */
function contentOf({
  anchors,
  mirrors,
  noFallback,
  skipVerify,
  plainHttp,
  headers,
  extra,
  clientCertificate,
  addresses,
}: Registry) {
  const asked = (mirrors ?? []).map((mirror) => [
    mirror.url,
    mirror.anchors,
    mirror.capabilities,
    mirror.overridePath,
    sorted(mirror.headers),
    ...(mirror.extra === undefined ? [] : [sorted(mirror.extra)]),
  ])
  const more = [
    asked,
    noFallback === true,
    skipVerify === true,
    plainHttp === true,
    sorted(headers),
    ...(extra === undefined ? [] : [sorted(extra)]),
    ...(addresses === undefined ? [] : [['addresses', ...addresses]]),
  ]
  const isPlain = JSON.stringify(more) === JSON.stringify([[], false, false, false, []])
  return isPlain && clientCertificate === undefined ? anchors : [anchors, more, clientCertificate?.fingerprint ?? '']
}

function sorted<T>(headers: { readonly [name: string]: T } = {}): readonly (readonly [string, T])[] {
  return Object.entries(headers).toSorted(([left], [right]) => (left < right ? -1 : 1))
}
