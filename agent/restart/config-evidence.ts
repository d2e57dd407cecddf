// What lies at config.toml: the original, what the agent made of it, or something of others. Pure.
import { createHash } from 'node:crypto'
import type { FileState } from '../model/ports.ts'
import type { ConfigEvidence, RestartRecord } from '../model/restart.ts'

/** SHA-256 in hex; null: no file. */
export function hashOf(state: FileState): string | null {
  return state.kind === 'file' ? createHash('sha256').update(state.bytes).digest('hex') : null
}

/** Other content, another kind of file, or another owner or mode than the original has, which the agent keeps. */
export function isOthers(now: FileState, kept: FileState, record: RestartRecord): boolean {
  if (now.kind !== 'file') return now.kind !== 'absent' || (record.before !== null && record.after !== null)
  if (configOf(now, record) === 'other') return true
  return kept.kind === 'file' && (['mode', 'uid', 'gid'] as const).some((name) => now[name] !== kept[name])
}

export function configOf(state: FileState, { before, after, merged }: RestartRecord): ConfigEvidence {
  if (state.kind !== 'file' && state.kind !== 'absent') return 'unreadable'
  const now = hashOf(state)
  if (now === before) return 'before'
  if (now === after) return 'after'
  return now === merged ? 'merged' : 'other'
}
