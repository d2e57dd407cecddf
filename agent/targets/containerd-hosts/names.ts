// The names in a host directory, and which paths of this target are ours.
import type { Change, RegularFile } from '../../model/plan.ts'
import type { AgentState } from '../../model/state.ts'

export const TARGET = 'containerd-hosts'
export const HOSTS_FILE = 'hosts.toml'
/** Our CA in a folder of someone else; where it has no hosts.toml (docker's style) all `*.crt` are read. */
export const CA_BESIDE_FOREIGN = 'registry-trust.crt'

export type ChangeBase = Pick<Change, 'target' | 'subject' | 'folder' | 'forgets' | 'path'>

export function rewritten({ mode, uid, gid }: RegularFile, text: string): RegularFile {
  return { kind: 'file', bytes: Buffer.from(text), mode, uid, gid }
}

export function ownedPaths(owned: AgentState['owned']) {
  return Object.entries(owned).filter(([, owner]) => owner.target === TARGET)
}
