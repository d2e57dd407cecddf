// Image references: the only place that builds or takes apart one from strings.
// Grammar: distribution/reference (host[:port]/path[:tag][@digest]).

/** A tag that no registry has: asking for it proves DNS, TLS trust, name and login without moving a byte. */
export const PROBE_REPOSITORY = 'registry-trust/probe'
const PROBE_TAG = 'does-not-exist'

/** `HOST/registry-trust/probe:does-not-exist` */
export function probeReference(host: string): string {
  return `${host}/${PROBE_REPOSITORY}:${PROBE_TAG}`
}

/**
 * The tag that no registry has, in the repository of an image: the answer tells whether a login may pull from there,
 * and nothing is pulled.
 */
export function probeReferenceBeside(image: string): string {
  return `${image.replace(/@.*$/, '').replace(/:[^/:]*$/, '')}:${PROBE_TAG}`
}

export function isProbeReference(reference: string): boolean {
  return reference.endsWith(`/${PROBE_REPOSITORY}:${PROBE_TAG}`)
}

/** What stands before the first slash; empty where there is none. */
export function hostPart(reference: string): string {
  return reference.slice(0, Math.max(reference.indexOf('/'), 0))
}

/** The registry host of a fully qualified reference; undefined when it names none (a Docker Hub short name). */
export function hostOf(reference: string): string | undefined {
  const slash = reference.indexOf('/')
  if (slash < 1) return undefined
  const host = reference.slice(0, slash)
  return host.includes('.') || host.includes(':') || host === 'localhost' ? host : undefined
}

const HOST = '(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\\[[0-9a-fA-F:]+\\])(?::[0-9]{1,5})?'
const NAME = '[a-z0-9]+(?:(?:\\.|_{1,2}|-+)[a-z0-9]+)*'
const FULL = new RegExp(`^${HOST}(?:/${NAME})+(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?$`)
const LONGEST = 512

/** Whether it is a reference with a host, and of nothing but the characters of the grammar. */
export function isFullReference(reference: string): boolean {
  return reference.length <= LONGEST && hostOf(reference) !== undefined && FULL.test(reference)
}
