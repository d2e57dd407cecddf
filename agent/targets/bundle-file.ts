// The system's bundle has other writers too, and not all of them replace it at once: `cat ... > ca-certificates.crt` leaves it empty, then cut
// off, for some milliseconds. Whoever takes that for the bundle and writes it again loses the rest.
import { setTimeout as sleep } from 'node:timers/promises'
import type { FileState, NodeFiles } from '../model/ports.ts'

const LOOK_AGAIN_MS = 20
/** A file that has been like this for longer is meant to be. */
const PATIENCE_MS = 1_000

export async function readBundle(path: string, files: Pick<NodeFiles, 'read'>): Promise<FileState> {
  const deadline = Date.now() + PATIENCE_MS
  for (;;) {
    const state = await files.read(path)
    if (state.kind !== 'file' || isWhole(state.bytes)) return state
    const isBeingWritten = Math.abs(Date.now() - state.mtimeMs) < PATIENCE_MS
    if (!isBeingWritten || Date.now() > deadline) return state
    await sleep(LOOK_AGAIN_MS)
  }
}

function isWhole(bytes: Buffer): boolean {
  return /-----END (TRUSTED )?CERTIFICATE-----\s*$/.test(bytes.subarray(-200).toString('latin1'))
}
