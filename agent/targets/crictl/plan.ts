// /etc/crictl.yaml, which tells crictl the CRI socket. Only on request (targets.crictl): a node works without it, and
// people keep their own settings there. Two keys are ours, every other line stays. `doctor` checks the file whether or
// not it is a target.

import { CRICTL_FILE, nameSocket, withoutSocket } from '../../containerd/crictl.ts'
import { problem } from '../../model/errors.ts'
import type { Change } from '../../model/plan.ts'
import type { FileState } from '../../model/ports.ts'
import type { TargetInput, TargetPlan } from '../../model/target.ts'
import { NOTHING_TO_DO, rootFile, sha256, whatIs } from '../files/files.ts'
import type { ObservedCrictl } from './observe.ts'

const FOLDER = '/etc'

export function planCrictl(
  { desired, owned }: Pick<TargetInput, 'desired' | 'owned'>,
  { socket, file, isWritable }: ObservedCrictl,
): TargetPlan {
  const owner = owned[CRICTL_FILE]
  const isWanted = desired.targets.crictl.enabled !== 'off' && socket !== undefined
  if (!isWanted && owner === undefined) return NOTHING_TO_DO
  const leave = (code: 'FILE_FOREIGN' | 'NODE_FILE_UNREADABLE' | 'TARGET_READ_ONLY', why: string): TargetPlan => ({
    changes: [],
    problems: [problem(code, `${CRICTL_FILE} ${why}; crictl was not configured with the CRI socket`)],
  })
  const isEditable = file.kind === 'file' || file.kind === 'absent'
  if (!isEditable && (isWanted || file.kind !== 'link'))
    return leave(file.kind === 'unreadable' ? 'NODE_FILE_UNREADABLE' : 'FILE_FOREIGN', `is ${whatIs(file)}`)
  const before = file.kind === 'file' ? file.bytes.toString('utf8') : ''
  const edit = isWanted ? nameSocket(before, socket) : ({ ok: true, text: withoutSocket(before) } as const)
  if (!edit.ok) return leave('FILE_FOREIGN', `cannot be edited: ${edit.reason}`)
  const isOurs = withoutSocket(edit.text) !== edit.text
  if (isOurs && edit.text === before) return NOTHING_TO_DO
  if (!isOurs && owner === undefined) return NOTHING_TO_DO
  if (!isWritable) return leave('TARGET_READ_ONLY', 'cannot be written')
  return { changes: [changeTo(edit.text, isOurs, file, owner?.before.kind === 'absent')], problems: [] }
}

function changeTo(text: string, isOurs: boolean, file: FileState, wasAbsent: boolean): Change {
  const base = { target: 'crictl', path: CRICTL_FILE, subject: '', folder: FOLDER } as const
  const bytes = Buffer.from(text)
  const after = file.kind === 'file' ? { ...rootFile(bytes, file.mode), uid: file.uid, gid: file.gid } : rootFile(bytes)
  if (isOurs) {
    const action = file.kind === 'absent' ? 'create' : 'edit'
    const owns = [{ path: CRICTL_FILE, kind: 'edited', sha256: sha256(bytes) }] as const
    const drift = file.kind === 'absent' ? 'missing' : 'changed'
    return { ...base, action, drift, reason: 'it does not name the CRI socket of this node', after, owns, forgets: [] }
  }
  const reason = file.kind === 'file' ? 'the agent no longer keeps it' : 'it is no longer managed by the agent'
  if (file.kind === 'link')
    return { ...base, action: 'link', reason, after: { kind: 'link', to: file.to }, owns: [], forgets: [CRICTL_FILE] }
  const isGone = file.kind !== 'file' || (text === '' && wasAbsent)
  const left = isGone ? ({ kind: 'absent' } as const) : after
  return { ...base, action: isGone ? 'delete' : 'edit', reason, after: left, owns: [], forgets: [CRICTL_FILE] }
}
