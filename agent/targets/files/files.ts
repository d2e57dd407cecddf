// How a file that is wanted is described and compared with what is there. Pure.
// This room: what targets share: comparing a wanted file with what is there, recording what is ours.
// Begin here; then ownership.ts.
// May touch: nothing.

import { createHash } from 'node:crypto'
import { posix } from 'node:path'
import { type Problem, problem } from '../../model/errors.ts'
import type { DriftKind, RegularFile } from '../../model/plan.ts'
import type { FileState } from '../../model/ports.ts'
import type { TargetPlan } from '../../model/target.ts'

export const NOTHING_TO_DO: TargetPlan = { changes: [], problems: [] }

/** Of what cannot be read nothing is known: it is not taken for gone, changed or someone else's. */
export function firstUnreadable(states: Iterable<readonly [path: string, state: FileState]>): string | undefined {
  for (const [path, state] of states) if (state.kind === 'unreadable') return `${path} cannot be read: ${state.reason}`
  return undefined
}

/** A folder for one registry host and, by name, the files in it. */
export type HostFolder = { readonly state: FileState; readonly files: ReadonlyMap<string, FileState> }

/** The same where the agent reads or writes: other files of a host folder do not concern it. */
export function firstUnreadableIn(folder: string, { state, files }: HostFolder): string | undefined {
  const found = [...files].flatMap(([name, file]) =>
    /\.(toml|crt|cert|key)$/.test(name) ? [[`${folder}/${name}`, file] as const] : [],
  )
  return firstUnreadable([[folder, state], ...found])
}

/** Of host folders, by path: those of which something cannot be read, so that nothing is done in them. */
export function unreadableFolders(folders: ReadonlyMap<string, HostFolder>): ReadonlyMap<string, Problem> {
  return new Map(
    [...folders].flatMap(([folder, found]) => {
      const what = firstUnreadableIn(folder, found)
      const text = `${what}; everything in ${folder} was left unchanged`
      return what === undefined ? [] : [[folder, problem('NODE_FILE_UNREADABLE', text)] as const]
    }),
  )
}

/** Of the paths those that are such a folder or lie in one. */
export function pathsIn(folders: ReadonlyMap<string, unknown>, paths: readonly string[]): readonly string[] {
  return paths.filter((path) => folders.has(path) || folders.has(posix.dirname(path)))
}

/** What stands there, for people. */
export function whatIs(state: FileState): string {
  switch (state.kind) {
    case 'absent':
      return 'nothing'
    case 'other':
      return `a ${state.what}`
    case 'unreadable':
      return `something that cannot be read (${state.reason})`
    default:
      return `a ${state.kind}`
  }
}

export function sha256(bytes: Buffer | string): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** A file of root with the mode given (by default 0o644). */
export function rootFile(text: string | Buffer, mode = 0o644): RegularFile {
  return { kind: 'file', bytes: Buffer.isBuffer(text) ? text : Buffer.from(text), mode, uid: 0, gid: 0 }
}

/** True when the path already is exactly what is wanted: bytes, mode and owner. */
export function isFile(state: FileState, wanted: RegularFile): boolean {
  return (
    state.kind === 'file' &&
    state.bytes.equals(wanted.bytes) &&
    state.mode === wanted.mode &&
    state.uid === wanted.uid &&
    state.gid === wanted.gid
  )
}

/** How and why a file of ours has to be written again, for machines and for people. */
export function difference(
  state: FileState,
  wanted: RegularFile,
): { readonly drift: DriftKind; readonly reason: string } {
  if (state.kind === 'absent') return { drift: 'missing', reason: 'it is missing' }
  if (state.kind !== 'file') return { drift: 'changed', reason: `there is ${whatIs(state)} in its place` }
  if (!state.bytes.equals(wanted.bytes)) return { drift: 'changed', reason: 'its content differs' }
  if (state.mode !== wanted.mode)
    return { drift: 'mode', reason: `its mode is ${state.mode.toString(8)} instead of ${wanted.mode.toString(8)}` }
  return { drift: 'mode', reason: `it belongs to ${state.uid}:${state.gid} instead of ${wanted.uid}:${wanted.gid}` }
}
