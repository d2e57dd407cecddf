// Reading what the agent remembers. The rule: what one call could not read (no descriptor, no memory, a passing fault
// of the disk) is not damaged; only what stays unreadable is.
import { setTimeout } from 'node:timers/promises'
import type { FileState, NodeFiles } from '../../model/ports.ts'

const PAUSES_MS = [20, 200]

/** As `files.read`, three times within a quarter of a second where the path cannot be read. */
export async function readAgain(files: Pick<NodeFiles, 'read'>, path: string): Promise<FileState> {
  for (const pauseMs of PAUSES_MS) {
    const state = await files.read(path)
    if (state.kind !== 'unreadable') return state
    await setTimeout(pauseMs)
  }
  return files.read(path)
}
