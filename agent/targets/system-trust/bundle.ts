// The system's bundle has other writers too, and not all of them replace it at once: `cat ... > ca-certificates.crt` leaves it empty, then cut
// off, for some milliseconds. Whoever takes that for the bundle and writes it again loses the rest.
import { X509Certificate } from 'node:crypto'
import type { FileState, NodeFiles } from '../../model/ports.ts'

export function readBundle(path: string, files: Pick<NodeFiles, 'readSettled'>): Promise<FileState> {
  return files.readSettled(path, isWhole)
}

function isWhole(bytes: Buffer): boolean {
  return /-----END (TRUSTED )?CERTIFICATE-----\s*$/.test(bytes.subarray(-200).toString('latin1'))
}

/** `sha256:` of the first certificate of a PEM file. */
export function firstFingerprint(bytes: Buffer): string | undefined {
  try {
    return `sha256:${new X509Certificate(bytes).fingerprint256.replaceAll(':', '').toLowerCase()}`
  } catch {
    return undefined
  }
}
