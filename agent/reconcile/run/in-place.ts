// Whether what a proof was made with lay on the node while it was made: another program may have taken it away since it
// was written or looked at.
import { createHash } from 'node:crypto'
import type { Change } from '../../model/plan.ts'
import type { FileState, NodeFiles } from '../../model/ports.ts'
import type { AgentState } from '../../model/state.ts'

/**
 * Those of the registries whose own files are all as the agent wrote them. `applied`: by this run, so that the state does
 * not know it yet.
 */
export async function withFilesInPlace(
  hosts: readonly string[],
  { owned }: Pick<AgentState, 'owned'>,
  applied: readonly Change[],
  files: Pick<NodeFiles, 'read'>,
): Promise<readonly string[]> {
  const asked = new Set(hosts)
  const wanted = new Map<string, { readonly subject: string; readonly sha256: string }>()
  for (const [path, { kind, subject, sha256 }] of Object.entries(owned))
    if (kind === 'whole' && asked.has(subject)) wanted.set(path, { subject, sha256 })
  for (const { owns, forgets, subject } of applied) {
    for (const path of forgets) wanted.delete(path)
    if (!asked.has(subject)) continue
    for (const { path, kind, sha256 } of owns) if (kind === 'whole') wanted.set(path, { subject, sha256 })
  }
  for (const [path, { subject, sha256 }] of wanted)
    if (asked.has(subject) && !isOf(await files.read(path), sha256)) asked.delete(subject)
  return [...asked]
}

/** A folder has no hash. */
function isOf(state: FileState, sha256: string): boolean {
  if (sha256 === '') return state.kind === 'folder'
  const content = state.kind === 'file' ? state.bytes : state.kind === 'link' ? state.to : undefined
  return content !== undefined && createHash('sha256').update(content).digest('hex') === sha256
}
