// The lines of the hosts file that give registries their addresses: one line for each address, with a mark. A name that
// somebody else's line has elsewhere is reported and left alone: the resolvers ask the first line, or all of them.
import { posix } from 'node:path'
import type { DesiredState } from '../../model/desired-state.ts'
import { type Problem, problem } from '../../model/errors.ts'
import type { Change } from '../../model/plan.ts'
import type { FileState } from '../../model/ports.ts'
import type { TargetInput, TargetPlan } from '../../model/target.ts'
import { entriesNaming, HOSTS_FILE, type HostsEntry, type HostsName, withNames } from '../../text/hosts-file.ts'
import { NOTHING_TO_DO, rootFile, sha256, whatIs } from '../files/files.ts'
import { HOSTS_COMPONENT } from '../files/profiles.ts'
import type { ObservedHostsFile } from './observe.ts'

type Declared = HostsName & {
  /** What the registry asks for is not known now: its lines stay as they are. */
  readonly isHeld: boolean
}

export function planHostsFile(
  { desired, owned }: Pick<TargetInput, 'desired' | 'owned'>,
  { file, isWritable, isSeen }: ObservedHostsFile,
): TargetPlan {
  const owner = owned[HOSTS_FILE]
  const declared = declaredNames(desired)
  if (declared.length === 0 && owner === undefined) return NOTHING_TO_DO
  const leave = (code: Problem['code'], why: string): TargetPlan => {
    const names = declared.map(({ name }) => name).slice(0, 10)
    const what =
      names.length === 0 ? 'the lines of the agent stay there' : `no address was written for ${names.join(', ')}`
    return { changes: [], problems: [problem(code, `${HOSTS_FILE} ${why}; ${what}`)] }
  }
  if (!isSeen) return leave('TARGET_NOT_MOUNTED', `of the node is not mounted into this Pod. ${HOSTS_COMPONENT}`)
  const isGone = declared.length === 0 && file.kind === 'link'
  if (file.kind === 'link' && !isGone)
    return leave('FILE_OUTSIDE_TARGET', `is a link to ${file.to}: name the addresses where that file is made`)
  if (file.kind !== 'file' && file.kind !== 'absent' && file.kind !== 'link')
    return leave(file.kind === 'unreadable' ? 'NODE_FILE_UNREADABLE' : 'FILE_FOREIGN', `is ${whatIs(file)}`)
  const before = file.kind === 'file' ? file.bytes.toString('latin1') : ''
  if (before.includes('\0')) return leave('FILE_FOREIGN', 'holds NUL bytes, so it is not text')
  const { wanted, problems } = linesFor(before, declared)
  const text = withNames(before, wanted)
  const isOurs = wanted.length > 0
  if (text === before && isOurs === (owner !== undefined)) return { changes: [], problems }
  if (text !== before && !isWritable) {
    const refused = leave('TARGET_READ_ONLY', 'cannot be written')
    return { ...refused, problems: [...problems, ...refused.problems] }
  }
  const subject = declared.length === 1 ? (declared[0]?.name ?? '') : ''
  const change = changeTo(text, isOurs, file, owner?.before.kind === 'absent')
  return { changes: [{ ...change, subject }], problems }
}

/** By name: registries that differ in their ports alone share the lines. */
function declaredNames({ registries, targets }: DesiredState): readonly Declared[] {
  if (targets.hostsFile.enabled === 'off') return []
  const names = new Map<string, Declared>()
  for (const { host, addresses, problems = [] } of registries) {
    const name = host.replace(/:\d+$/, '')
    if (addresses === undefined || names.has(name)) continue
    names.set(name, { name, addresses, isHeld: problems.length > 0 })
  }
  return [...names.values()]
}

/** What the agent's lines should say beside those of others, and why not all that is declared. */
function linesFor(
  text: string,
  declared: readonly Declared[],
): { readonly wanted: readonly HostsName[]; readonly problems: readonly Problem[] } {
  const entries = entriesNaming(text, new Set(declared.map(({ name }) => name)))
  const problems: Problem[] = []
  const wanted = declared.map(({ name, addresses, isHeld }): HostsName => {
    const named = entries.filter(({ names }) => names.includes(name))
    const theirs = named.filter(({ isOurs }) => !isOurs)
    const other = theirs.find(({ address }) => !addresses.includes(address))
    if (other !== undefined) problems.push(conflict(name, addresses, other))
    const asItIs = named.filter(({ isOurs }) => isOurs).map(({ address }) => address)
    if (isHeld || other !== undefined) return { name, addresses: asItIs }
    const known = new Set(theirs.map(({ address }) => address))
    return { name, addresses: addresses.filter((address) => !known.has(address)) }
  })
  return { wanted: wanted.filter(({ addresses }) => addresses.length > 0), problems }
}

function conflict(name: string, addresses: readonly string[], { line, address }: HostsEntry): Problem {
  const text = `${HOSTS_FILE}:${line} gives ${name} the address ${address}, but trust.yaml gives it ${addresses.join(', ')}: programs would use one or the other, so the lines of ${name} were left unchanged`
  return problem('HOST_ADDRESS_CONFLICT', text)
}

function changeTo(text: string, isOurs: boolean, file: FileState, wasAbsent: boolean): Change {
  const base = { target: 'hosts-file', path: HOSTS_FILE, subject: '', folder: posix.dirname(HOSTS_FILE) } as const
  const bytes = Buffer.from(text, 'latin1')
  const after = file.kind === 'file' ? { ...rootFile(bytes, file.mode), uid: file.uid, gid: file.gid } : rootFile(bytes)
  if (isOurs) {
    const action = file.kind === 'absent' ? 'create' : 'edit'
    const owns = [{ path: HOSTS_FILE, kind: 'edited', sha256: sha256(bytes) }] as const
    const drift = file.kind === 'absent' ? 'missing' : 'changed'
    const reason = 'it does not have the declared addresses of registries'
    return { ...base, action, drift, reason, after, owns, forgets: [] }
  }
  const reason = 'the agent no longer keeps addresses in it'
  if (file.kind === 'link')
    return { ...base, action: 'link', reason, after: { kind: 'link', to: file.to }, owns: [], forgets: [HOSTS_FILE] }
  const isGone = file.kind !== 'file' || (text === '' && wasAbsent)
  const left = isGone ? ({ kind: 'absent' } as const) : after
  return { ...base, action: isGone ? 'delete' : 'edit', reason, after: left, owns: [], forgets: [HOSTS_FILE] }
}
