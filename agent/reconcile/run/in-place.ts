// Whether what a proof was made with lay on the node while it was made: another program may have taken it away since it
// was written or looked at.
import type { Change } from '../../model/plan.ts'
import type { FileState, NodeFiles } from '../../model/ports.ts'
import type { AgentState } from '../../model/state.ts'
import { sha256 } from '../../targets/files/files.ts'

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
  const wanted = new Map<string, { readonly subject: string; readonly digest: string }>()
  for (const [path, { kind, subject, sha256: digest }] of Object.entries(owned))
    if (kind === 'whole' && asked.has(subject)) wanted.set(path, { subject, digest })
  for (const { owns, forgets, subject } of applied) {
    for (const path of forgets) wanted.delete(path)
    if (!asked.has(subject)) continue
    for (const { path, kind, sha256: digest } of owns) if (kind === 'whole') wanted.set(path, { subject, digest })
  }
  for (const [path, { subject, digest }] of wanted)
    if (asked.has(subject) && !isOf(await files.read(path), digest)) asked.delete(subject)
  return [...asked]
}

/** A folder has no hash. */
function isOf(state: FileState, digest: string): boolean {
  if (digest === '') return state.kind === 'folder'
  const content = state.kind === 'file' ? state.bytes : state.kind === 'link' ? state.to : undefined
  return content !== undefined && sha256(content) === digest
}
