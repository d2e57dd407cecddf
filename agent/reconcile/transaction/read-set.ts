// What a plan was made from: whatever was read on the node for it. Between plan and execution lies the rehearsal, a
// tenth of a second and more; what others write in that time must not be lost, so a change is made only where the node
// is still as it was planned for.

import { posix } from 'node:path'
import type { FileState, NodeFiles } from '../../model/ports.ts'
import type { ReadSet } from '../../model/run-ports.ts'
import type { Before, StepRecord } from '../../model/state.ts'
import { sha256 } from '../../targets/files/files.ts'

/**
 * Reads through `files` and remembers the first answer for each path. `through`: the same for others, which know what
 * earlier looks have seen.
 */
export function recordReads(files: NodeFiles): {
  readonly files: NodeFiles
  readonly through: <F extends NodeFiles>(files: F) => F
  readonly reads: ReadSet
} {
  const direct = new Map<string, FileState>()
  // What a link at the path led to: says nothing of the link.
  const followed = new Map<string, FileState>()
  const listed = new Map<string, readonly string[]>()
  const through = <F extends NodeFiles>(from: F): F => ({
    ...from,
    read: async (path: string) => first(direct, path, await from.read(path)),
    readSettled: async (path: string, isWhole: (bytes: Buffer) => boolean) =>
      first(direct, path, await from.readSettled(path, isWhole)),
    readFollowing: async (path: string) => first(followed, path, await from.readFollowing(path)),
    list: async (folder: string) => first(listed, folder, await from.list(folder)),
  })
  const hasChanged = (path: string, now: Before) => {
    const isMissing = listed.get(posix.dirname(path))?.includes(posix.basename(path)) === false
    const was = direct.get(path) ?? (isMissing ? { kind: 'absent' as const } : undefined)
    const target = now.kind === 'link' ? undefined : followed.get(path)
    return [was, target].some((state) => state !== undefined && differs(state, now))
  }
  return { files: through(files), through, reads: { hasChanged } }
}

/** Remembers the first answer, gives back this one. */
function first<T>(answers: Map<string, T>, path: string, answer: T): T {
  if (!answers.has(path)) answers.set(path, answer)
  return answer
}

/** True when the path holds something else than was recorded; of what cannot be read nothing is known. */
export function differs(state: FileState, recorded: Recorded): boolean {
  return state.kind !== 'unreadable' && state.kind !== 'other' && !isAsRecorded(state, recorded)
}

type Recorded = Before | StepRecord['after']

/** Two records of the same kind, content or target. */
export function isSameRecord(one: Recorded, other: Recorded): boolean {
  if (one.kind === 'file' && other.kind === 'file') return one.sha256 === other.sha256
  if (one.kind === 'link' && other.kind === 'link') return one.to === other.to
  return one.kind === other.kind
}

/** The same kind, content or target; mode and owner are not compared. */
export function isAsRecorded(state: FileState, recorded: Recorded): boolean {
  if (state.kind === 'file' && recorded.kind === 'file')
    return recorded.sha256 === undefined || sha256(state.bytes) === recorded.sha256
  if (state.kind === 'link' && recorded.kind === 'link') return state.to === recorded.to
  return state.kind === recorded.kind
}
