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
  const deadline = performance.now() + PATIENCE_MS
  let before: FileState | undefined
  for (;;) {
    const state = await read()
    if (state.kind !== 'file' || isWhole(state.bytes)) return state
    // The time on the file is of a clock that may have been set since it was written: what changes is being written too.
    const isNew = Math.abs(Date.now() - state.mtimeMs) < PATIENCE_MS
    const isBeingWritten = isNew || before === undefined || hasChanged(before, state)
    if (!isBeingWritten || performance.now() > deadline) return state
    before = state
    await sleep(LOOK_AGAIN_MS)
  }
}

function hasChanged(before: FileState, now: Extract<FileState, { kind: 'file' }>): boolean {
  return before.kind !== 'file' || before.mtimeMs !== now.mtimeMs || !before.bytes.equals(now.bytes)
}
