// Carries out plans on a scratch root with the real rim: what the transaction does, without containerd.
import { createHash } from 'node:crypto'
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import type { Change } from '../../agent/model/plan.ts'
import type { Log, NodeFiles, StateStore } from '../../agent/model/ports.ts'
import type { AgentState } from '../../agent/model/state.ts'
import { systemClock } from '../../agent/node/clock.ts'
import { nodeFiles } from '../../agent/node/files.ts'
import { stateStore } from '../../agent/node/state-store.ts'
import { beginTransaction, type TransactionPorts } from '../../agent/reconcile/transaction.ts'

export const SILENT: Log = { debug() {}, info() {}, warn() {}, error() {} }
export const STATE_FOLDER = '/var/lib/registry-trust'

export type ScratchNode = {
  readonly root: string
  readonly files: NodeFiles
  readonly store: StateStore
  readonly ports: TransactionPorts
  /** Executes and commits; the state that the next plan starts from. */
  carryOut(changes: readonly Change[], state: AgentState): Promise<AgentState>
}

export function scratchNode(root: string): ScratchNode {
  const files = nodeFiles({ root })
  const store = stateStore({ files, folder: STATE_FOLDER })
  const ports = { files, store, clock: systemClock(), log: SILENT }
  return {
    root,
    files,
    store,
    ports,
    async carryOut(changes, state) {
      const transaction = beginTransaction(state, 'aaaaaaaaaaaa', ports)
      await transaction.execute(changes)
      const outcome = {
        generation: 'aaaaaaaaaaaa',
        durationMs: 0,
        result: 'committed',
        changes: changes.length,
        restarted: false,
        reason: 'test',
      } as const
      return transaction.commit(outcome)
    },
  }
}

/** Every path below the root with kind, mode, owner and content or link target; the agent's own state folder left out. */
export function treeOf(root: string, folder = ''): { readonly [path: string]: string } {
  const tree: { [path: string]: string } = {}
  for (const name of readdirSync(join(root, folder)).sort()) {
    const path = `${folder}/${name}`
    if (path === STATE_FOLDER) continue
    const full = join(root, path)
    const stat = lstatSync(full)
    const head = `${(stat.mode & 0o7777).toString(8)} ${stat.uid}:${stat.gid}`
    if (stat.isSymbolicLink()) tree[path] = `link ${readlinkSync(full)}`
    else if (stat.isDirectory()) Object.assign(tree, { [path]: `folder ${head}` }, treeOf(root, path))
    else tree[path] = `file ${head} ${createHash('sha256').update(readFileSync(full)).digest('hex')}`
  }
  return tree
}
