// The system's bundle has other writers too, and not all of them replace it at once: `cat ... > ca-certificates.crt`
// leaves it empty, then cut off, for some milliseconds. A program that takes that for the bundle and writes it again
// loses the rest.
import { X509Certificate } from 'node:crypto'
import type { FileState, NodeFiles } from '../../model/ports.ts'
import type { AgentState } from '../../model/state.ts'
import { sha256 } from '../files/files.ts'

export function readBundle(path: string, files: Pick<NodeFiles, 'readSettled'>): Promise<FileState> {
  return files.readSettled(path, isWhole)
}

function isWhole(bytes: Buffer): boolean {
  return /-----END (TRUSTED )?CERTIFICATE-----\s*$/.test(bytes.subarray(-200).toString('latin1'))
}

/** `sha256:` of the first certificate of a PEM file. */
export function firstFingerprint(bytes: Buffer): string | undefined {
  const content = sha256(bytes)
  if (!fingerprints.has(content)) {
    if (fingerprints.size >= MOST_FINGERPRINTS) fingerprints.clear()
    fingerprints.set(content, fingerprintOf(bytes))
  }
  return fingerprints.get(content)
}

/** By digest of the file: parsing costs ten times as much, and a look meets the same files each time. */
const fingerprints = new Map<string, string | undefined>()
const MOST_FINGERPRINTS = 2_000

/** A block of the kind TRUSTED has what it is trusted for after the certificate: only the certificate counts. */
export function fingerprintOf(bytes: Buffer | string): string | undefined {
  try {
    return `sha256:${new X509Certificate(bytes).fingerprint256.replaceAll(':', '').toLowerCase()}`
  } catch {
    return undefined
  }
}

/**
 * Of the agent's source files those that somebody removed or changed: what the bundle still holds of them, by what is
 * recorded of each.
 * Gives PEM texts as they stand in the bundle, each with its path.
 */
export function lostTexts(
  sources: readonly string[],
  owned: AgentState['owned'],
  stateOf: (path: string) => FileState | undefined,
  bundle: string,
): readonly (readonly [pem: string, path: string])[] {
  const lost = sources.filter((path) => {
    const state = stateOf(path)
    return state?.kind !== 'file' || sha256(state.bytes) !== owned[path]?.sha256
  })
  if (lost.length === 0) return []
  const byDigest = new Map(lost.map((path) => [owned[path]?.sha256, path]))
  return [...bundle.matchAll(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----\n/g)].flatMap(([pem]) => {
    const path = byDigest.get(sha256(pem))
    return path === undefined ? [] : [[pem, path] as const]
  })
}
