// Which images the agent may have pulled. The rule: only what proves a declared registry: nothing that fills the disk
// or replaces a tag unless the configuration names that very image.
import type { Registry } from '../model/desired-state.ts'
import { hostOf, probeReference, probeReferenceBeside } from '../model/image-reference.ts'

export type PullScope = { readonly registries: readonly Registry[]; readonly sandboxImage?: string | undefined }

const DIGEST = /@sha256:[0-9a-f]{64}$/

/** Why `reference` may not be pulled; undefined: it may. */
export async function mayPull(
  reference: string,
  { registries, sandboxImage }: PullScope,
  isPresent: () => Promise<boolean>,
): Promise<string | undefined> {
  if (reference === sandboxImage) return undefined
  const host = hostOf(reference)
  const declared = registries.filter((registry) => registry.host === host)
  if (host === undefined || declared.length === 0) return `${host ?? 'the default registry'} is not a declared registry`
  if (reference === probeReference(host)) return undefined
  if (declared.some(({ proof }) => proof.image === reference)) return undefined
  const isBeside = ({ proof: { image } }: Registry) => image !== undefined && reference === probeReferenceBeside(image)
  if (declared.some(isBeside)) return undefined
  if (DIGEST.test(reference) && (await isPresent())) return undefined
  return `${reference} is neither the probe of ${host}, nor its declared proof image, nor on the node already`
}

/**
 * Whether the fleet component tells this node to pull exactly this image for a Pod that waits for it. It is pulled
 * without a login, and only where it is not there: no image is replaced, and none that needs a login is brought.
 */
export async function isAwaited(
  reference: string,
  { registries, awaited }: { readonly registries: readonly Registry[]; readonly awaited: readonly string[] },
  isPresent: () => Promise<boolean>,
): Promise<boolean> {
  const isDeclared = registries.some(({ host }) => host === hostOf(reference))
  return isDeclared && awaited.includes(reference) && !(await isPresent())
}
