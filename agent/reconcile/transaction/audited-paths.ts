// What a way back made of each path, by hash, for the audit log: as it lay there, others' edits included.
import type { Change } from '../../model/plan.ts'
import type { NodeFiles } from '../../model/ports.ts'
import type { Before } from '../../model/state.ts'
import { sha256 } from '../../targets/files/files.ts'

/** SHA-256 in hex; null: no file; undefined: it cannot be read. */
type Hashes = ReadonlyMap<string, string | null | undefined>

export type AuditedPath = {
  readonly path: string
  readonly beforeSha256?: string | null
  readonly afterSha256?: string | null
}

/** Looks at the paths before; the result looks again and compares. Neither throws: a hash that is not known is left out. */
export async function auditedPaths(
  paths: readonly string[],
  files: Pick<NodeFiles, 'read'>,
): Promise<() => Promise<readonly AuditedPath[]>> {
  const before = await hashesOf(paths, files)
  return async () => {
    const after = await hashesOf(paths, files)
    return [...before].map(([path, beforeSha256]) => {
      const afterSha256 = after.get(path)
      return {
        path,
        ...(beforeSha256 !== undefined && { beforeSha256 }),
        ...(afterSha256 !== undefined && { afterSha256 }),
      }
    })
  }
}

async function hashesOf(paths: readonly string[], files: Pick<NodeFiles, 'read'>): Promise<Hashes> {
  const hashes = new Map<string, string | null | undefined>()
  for (const path of new Set(paths)) hashes.set(path, await hashAt(path, files))
  return hashes
}

async function hashAt(path: string, files: Pick<NodeFiles, 'read'>): Promise<string | null | undefined> {
  try {
    const state = await files.read(path)
    return state.kind === 'file' ? sha256(state.bytes) : null
  } catch {
    return undefined
  }
}

/** One change that was made. */
export function auditOf(change: Change, before: ReadonlyMap<string, Before>) {
  const was = before.get(change.path)
  return {
    target: change.target,
    action: change.action,
    path: change.path,
    reason: change.reason,
    beforeSha256: was?.kind === 'file' ? was.sha256 : null,
    afterSha256: change.owns.find((own) => own.path === change.path)?.sha256 ?? null,
  }
}
