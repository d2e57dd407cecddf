// Ownership that outlives state.json: what is on the node and evidently the agent's is taken for its own again. The
// rules: only where a host directory carries the agent's mark; only what is exactly as the agent would write it, or
// lies beside that mark; and what is not certain is reported, never taken.
import { posix } from 'node:path'
import { asAgentError, type Problem, problem } from '../../model/errors.ts'
import type { ContainerdFacts } from '../../model/observed-state.ts'
import type { Change, OwnedPath } from '../../model/plan.ts'
import type { FileState, NodeFiles } from '../../model/ports.ts'
import type { Context, RunOptions } from '../../model/run.ts'
import type { TransactionPorts } from '../../model/run-ports.ts'
import type { AgentState, Before, Ownership } from '../../model/state.ts'
import { sha256 } from '../../targets/files/files.ts'
import { LOCAL_ANCHORS, SYSTEM_CERTS } from '../../targets/system-trust/debian-observe.ts'
import { FAMILIES } from '../../targets/system-trust/families-observe.ts'
import { certificatesOf, type Evidence, evidenceOn, withoutOurs } from '../observe/evidence.ts'
import { tracesOn } from '../observe/traces.ts'
import { makePlan } from './planning.ts'

export type Adopted = { readonly state: AgentState; readonly problems: readonly Problem[] }

type Owned = { [path: string]: Ownership }

const SOURCE_NAME = /\.(?:crt|pem)$/

/** What the tools of any distribution read. */
async function sourcesIn(files: NodeFiles): Promise<readonly string[]> {
  const folders = [LOCAL_ANCHORS, ...Object.values(FAMILIES).flatMap(({ sources }) => sources ?? [])]
  const names = await Promise.all(
    folders.map(async (folder) => (await files.list(folder)).map((name) => `${folder}/${name}`)),
  )
  return names.flat()
}

const ABSENT: Before = { kind: 'absent' }

/** Nothing is remembered: the node is new, or the state was lost. */
export function isForgetful({ owned, transactions }: AgentState): boolean {
  return Object.keys(owned).length === 0 && transactions.length === 0
}

/** The state with what is evidently the agent's, saved; the same state where nothing carries its mark. */
export async function adopt({ desired, state, facts, ports }: Context): Promise<Adopted> {
  const { files, store, log } = ports
  const evidence = await evidenceOn(desired, facts, files)
  const traces = await tracesOn(facts, files)
  if (evidence.folders.size === 0) return { state: unsureOf(state, traces), problems: [] }
  const bare = withoutOurs(files, evidence, facts)
  const bareFacts = { ...facts, config: await bare.readFollowing(facts.configFile) }
  const { plan } = await makePlan({ desired, state, facts: bareFacts }, { ...ports, files: bare })
  const owned: Owned = {}
  for (const change of plan.changes)
    for (const own of change.owns) {
      const before = await beforeOf(own, bare, files, store)
      if (before !== undefined) owned[own.path] = { ...(await ownership(own, change, files)), before }
    }
  Object.assign(owned, markedFolders(evidence), await impliedAnchors(evidence, owned, files))
  Object.assign(owned, await editedConfig(facts, bare, ports), await emptiedFolder(evidence, bare))
  if (Object.keys(owned).length === 0) return { state: unsureOf(state, traces), problems: [] }
  const next = unsureOf({ ...state, owned }, [...(await unsureAnchors(owned, files)), ...traces])
  // Where it cannot be saved, nothing will be written either, and what follows reports that.
  await store.save(next).catch((thrown: unknown) => log.error('not-recorded', { error: asAgentError(thrown).message }))
  log.warn('ownership-adopted', { paths: Object.keys(owned) })
  const text = `the agent had no record of this node: ${Object.keys(owned).length} paths that are clearly the agent's were adopted`
  return { state: next, problems: [problem('OWNERSHIP_ADOPTED', text)] }
}

function unsureOf(state: AgentState, paths: readonly string[]): AgentState {
  const unsure = paths.filter((path) => state.owned[path] === undefined)
  return unsure.length === 0 ? state : { ...state, unsure }
}

/**
 * Every run reports what is not certain, until it is gone or a person has run a command, which reports it for the last
 * time.
 */
export async function tellUnsure(
  { owned, unsure = [], ...rest }: AgentState,
  { byHand }: RunOptions,
  { files, store, log }: TransactionPorts,
): Promise<Adopted> {
  if (unsure.length === 0) return { state: { ...rest, owned }, problems: [] }
  const isLeft = await Promise.all(
    unsure.map(async (path) => owned[path] === undefined && (await files.read(path)).kind !== 'absent'),
  )
  const left = unsure.filter((_, index) => isLeft[index])
  const kept = byHand ? [] : left
  const state = { ...rest, owned, ...(kept.length === 0 ? {} : { unsure: kept }) }
  await store.save(state).catch((thrown: unknown) => log.error('not-recorded', { error: asAgentError(thrown).message }))
  if (left.length === 0) return { state, problems: [] }
  const text = `it is no longer known who made these paths, so they were left unchanged: ${left.join(', ')}`
  return { state, problems: [problem('OWNERSHIP_UNSURE', text)] }
}

/** What was there before the agent; undefined: what is there is not, or not certainly, the agent's. */
async function beforeOf(
  own: OwnedPath,
  bare: NodeFiles,
  files: NodeFiles,
  store: { keep(bytes: Buffer): Promise<string> },
): Promise<Before | undefined> {
  const [now, without] = [await files.read(own.path), await bare.read(own.path)]
  if (own.kind === 'whole') return without.kind === 'absent' && digestOf(now) === own.sha256 ? ABSENT : undefined
  if (now.kind !== 'file') return undefined
  if (without.kind === 'absent') return ABSENT
  if (without.kind !== 'file' || without.bytes.equals(now.bytes)) return undefined
  const { mode, uid, gid } = now
  return { kind: 'file', sha256: await store.keep(without.bytes), mode, uid, gid }
}

async function ownership(own: OwnedPath, change: Change, files: NodeFiles): Promise<Omit<Ownership, 'before'>> {
  const { kind, target = change.target } = own
  return { kind, target, subject: change.subject, sha256: digestOf(await files.read(own.path)) ?? own.sha256 }
}

function digestOf(state: FileState): string | undefined {
  if (state.kind === 'file') return sha256(state.bytes)
  if (state.kind === 'link') return sha256(state.to)
  return state.kind === 'folder' ? '' : undefined
}

/** Declared or not, in its present form or an older one: the mark says whose it is. */
function markedFolders({ folders }: Evidence): Owned {
  const owned: Owned = {}
  for (const [folder, names] of folders) {
    const base = { kind: 'whole', target: 'containerd-hosts', subject: posix.basename(folder), before: ABSENT } as const
    owned[folder] = { ...base, sha256: '' }
    for (const [name, state] of names) owned[`${folder}/${name}`] = { ...base, sha256: digestOf(state) ?? '' }
  }
  return owned
}

/** Its line in config.toml leads to the marks. What stood there before is not known any more: the key goes. */
async function editedConfig(
  { configFile, config }: ContainerdFacts,
  bare: NodeFiles,
  { store }: Pick<TransactionPorts, 'store'>,
): Promise<Owned> {
  const without = await bare.readFollowing(configFile)
  if (config.kind !== 'file' || without.kind !== 'file' || without.bytes.equals(config.bytes)) return {}
  const { mode, uid, gid } = config
  const before = { kind: 'file', sha256: await store.keep(without.bytes), mode, uid, gid } as const
  const base = { kind: 'edited', target: 'containerd-config', subject: '' } as const
  return { [configFile]: { ...base, sha256: sha256(config.bytes), before } }
}

/** The folder of host directories, where nothing but marked ones is in it. */
async function emptiedFolder({ certsDirectory }: Evidence, bare: NodeFiles): Promise<Owned> {
  if ((await bare.read(certsDirectory)).kind !== 'absent') return {}
  return { [certsDirectory]: { kind: 'whole', target: 'containerd-hosts', subject: '', sha256: '', before: ABSENT } }
}

/**
 * Sources in the system store that hold nothing but what lies beside a mark as well: anchors that are no longer
 * declared.
 */
async function impliedAnchors({ certificates }: Evidence, known: Owned, files: NodeFiles): Promise<Owned> {
  const owned: Owned = {}
  for (const source of await sourcesIn(files)) {
    const state = await files.read(source)
    const held = certificatesOf(state)
    if (known[source] !== undefined || held.length === 0 || !held.every((one) => certificates.has(one))) continue
    const subject = posix.basename(source).replace(SOURCE_NAME, '')
    const base = { kind: 'whole', target: 'system-trust', subject, before: ABSENT } as const
    owned[source] = { ...base, sha256: digestOf(state) ?? '' }
    for (const link of posix.dirname(source) === LOCAL_ANCHORS ? await files.list(SYSTEM_CERTS) : []) {
      const path = `${SYSTEM_CERTS}/${link}`
      const there = await files.read(path)
      const isLed = there.kind === 'link' && certificatesOf(await files.readFollowing(path)).join() === held.join()
      if (isLed && known[path] === undefined) owned[path] = { ...base, sha256: digestOf(there) ?? '' }
    }
  }
  return owned
}

async function unsureAnchors(owned: Owned, files: NodeFiles): Promise<readonly string[]> {
  return (await sourcesIn(files)).filter((path) => SOURCE_NAME.test(path) && owned[path] === undefined)
}
