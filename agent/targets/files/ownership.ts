// What state.json records of a path of ours, and how a folder of ours is known there.
import type { OwnedPath, RegularFile } from '../../model/plan.ts'
import type { AgentState } from '../../model/state.ts'
import { sha256 } from './files.ts'

export function ownedFile(path: string, file: RegularFile): OwnedPath {
  return { path, kind: 'whole', sha256: sha256(file.bytes) }
}

/** A folder has no content of its own to compare: its digest is empty. */
export function ownedFolder(path: string): OwnedPath {
  return { path, kind: 'whole', sha256: '' }
}

export function isOwnedFolder(owned: AgentState['owned'], path: string): boolean {
  return owned[path]?.kind === 'whole' && owned[path].sha256 === ''
}
