// Go's parser of certificates differs from release to release. These are the releases that containerd is built with on
// the nodes of today, each one with rules of its own; the corpus test asks a real containerd of each of them.

/** The Go release, and the containerd line whose packages are built with it. */
export const GO_RELEASES = [
  { go: '1.19', containerd: '1.6' },
  { go: '1.24', containerd: '1.7' },
  { go: '1.27', containerd: '2.1' },
] as const

export type GoVersion = (typeof GO_RELEASES)[number]['go']

/** Thrown and caught inside this folder alone: the parser gives up at the first thing that Go would not read. */
export class Refusal extends Error {}

/** @throws Refusal always; `reason` continues "the certificate cannot be used: ". */
export function refuse(reason: string): never {
  throw new Refusal(reason)
}

/** @throws Refusal where `holds` is false. */
export function must(holds: boolean, reason: string): asserts holds {
  if (!holds) refuse(reason)
}
