// Which grants of the fleet component can never be used again (port GrantStore): grants.json in the state folder. It is
// a file of its own because it is written while a transaction, which owns state.json, is under way.

import { AgentError } from '../../model/errors.ts'
import { type ClosedGrant, GRANT_PHASES } from '../../model/fleet.ts'
import type { GrantStore, NodeFiles } from '../../model/ports.ts'
import { ensureFolder, ownFile } from './state-store.ts'

const MAX_GRANTS = 64

/** `folder` is the state folder on the node. */
export function grantStore({ files, folder }: { readonly files: NodeFiles; readonly folder: string }): GrantStore {
  const path = `${folder}/grants.json`
  return {
    async load() {
      const found = await files.read(path)
      if (found.kind === 'absent') return []
      const grants = found.kind === 'file' ? parseGrants(found.bytes.toString('utf8')) : undefined
      // An empty list would allow a restart a second time.
      if (grants === undefined) throw new AgentError('STATE_UNREADABLE', `${path} is not a list of grants`)
      return grants
    },
    async save(grants) {
      await ensureFolder(files, folder)
      await files.put(path, ownFile(Buffer.from(`${JSON.stringify(grants, null, 1)}\n`)), { folder })
    },
  }
}

function parseGrants(text: string): readonly ClosedGrant[] | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return Array.isArray(value) && value.length <= MAX_GRANTS && value.every(isClosedGrant) ? value : undefined
  } catch {
    return undefined
  }
}

function isClosedGrant(value: unknown): value is ClosedGrant {
  if (typeof value !== 'object' || value === null) return false
  const { id, generation, phase, ok } = value as { readonly [name: string]: unknown }
  const isPhase = GRANT_PHASES.some((known) => known === phase && known !== 'held')
  return typeof id === 'string' && typeof generation === 'string' && typeof ok === 'boolean' && isPhase
}
