// A file that somebody is writing right now is read again until it is whole.
import { setTimeout as sleep } from 'node:timers/promises'
import type { FileState } from '../../model/ports.ts'

const LOOK_AGAIN_MS = 20
/** A file that has been like this for longer is meant to be. */
const PATIENCE_MS = 1_000

export async function readSettled(
  read: () => Promise<FileState>,
  isWhole: (bytes: Buffer) => boolean,
): Promise<FileState> {
  const deadline = Date.now() + PATIENCE_MS
  for (;;) {
    const state = await read()
    if (state.kind !== 'file' || isWhole(state.bytes)) return state
    const isBeingWritten = Math.abs(Date.now() - state.mtimeMs) < PATIENCE_MS
    if (!isBeingWritten || Date.now() > deadline) return state
    await sleep(LOOK_AGAIN_MS)
  }
}
