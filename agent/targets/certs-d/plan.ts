// Docker's way to trust: FOLDER/certs.d/HOST[:PORT]/ca.crt, read at each connection, so nothing has to be restarted. dockerd reads
// /etc/docker, the containers tools (CRI-O, podman, buildah, skopeo) read /etc/containers. All *.crt of a host folder count: a CA of
// someone else stays and ours lies beside it. Source: docs.docker.com "certificates", containers-certs.d(5).
import { posix } from 'node:path'
import { parseUrl } from '../../containerd/hosts/endpoint.ts'
import { type DesiredState, trustOf, trustOfMirror } from '../../model/desired-state.ts'
import { problem } from '../../model/errors.ts'
import type { Change, OwnedPath, RegularFile } from '../../model/plan.ts'
import type { FileState, NodeFiles } from '../../model/ports.ts'
import type { AgentState } from '../../model/state.ts'
import { decodeCertificates } from '../../pki/decode/decode.ts'
import {
  difference,
  type HostFolder,
  isFile,
  NOTHING_TO_DO,
  pathsIn,
  rootFile,
  sha256,
  type TargetInput,
  type TargetPlan,
  unreadableFolders,
  whatIs,
} from '../target.ts'
import { planTreeRemoval } from './removal.ts'

export type CertsTree = {
  readonly target: 'docker' | 'containers' | 'k3s'
  /** `auto`: the target is on where this folder exists. */
  readonly base: string
  /** The host folders lie below it; `certs.d` unless told. */
  readonly folder?: string
  /** Where the same programs look when this tree has no folder for a host. */
  readonly fallback?: string
}

export const DOCKER: CertsTree = { target: 'docker', base: '/etc/docker' }
export const CONTAINERS: CertsTree = { target: 'containers', base: '/etc/containers', fallback: '/etc/docker/certs.d' }

export function hostsFolderOf({ base, folder = 'certs.d' }: CertsTree): string {
  return `${base}/${folder}`
}

export const CA_FILE = 'ca.crt'
/** Ours in a folder where someone else's ca.crt stands. */
const CA_BESIDE_FOREIGN = 'registry-trust.crt'
const ABSENT: FileState = { kind: 'absent' }

type ObservedFolder = { readonly path: string; readonly state: FileState; readonly names: readonly string[] }

export type ObservedTree = {
  readonly base: ObservedFolder
  readonly certs: ObservedFolder
  /** False also where `base` is absent and could not be made. */
  readonly isWritable: boolean
  /** By absolute path. */
  readonly folders: ReadonlyMap<string, HostFolder>
  /** By host: names of files in the fallback folder, which a new folder here would hide. */
  readonly hidden: ReadonlyMap<string, readonly string[]>
}

type TreeInput = Pick<TargetInput, 'desired' | 'owned'> & Partial<Pick<TargetInput, 'unverified'>>

/** What one host folder shall hold. */
type Wanted = { readonly host: string; readonly ca: RegularFile }

export async function observeCertsTree(tree: CertsTree, input: TreeInput, files: NodeFiles): Promise<ObservedTree> {
  const certs = hostsFolderOf(tree)
  const hosts = wantedHosts(input.desired, tree).map(({ host }) => host)
  const owned = Object.keys(ownedBy(tree, input.owned)).map((path) =>
    isOwnedFolder(input.owned, path) ? path : posix.dirname(path),
  )
  const folders = new Map<string, HostFolder>()
  for (const folder of new Set([
    ...hosts.map((host) => `${certs}/${host}`),
    ...owned.filter((path) => path !== tree.base && path !== certs),
  ]))
    folders.set(folder, await observeFolder(folder, files))
  const hidden = new Map<string, readonly string[]>()
  for (const host of tree.fallback === undefined ? [] : hosts) {
    if (folders.get(`${certs}/${host}`)?.state.kind !== 'absent') continue
    const { names } = await observeTop(`${tree.fallback}/${host}`, files)
    const foreign = names.filter((name) => input.owned[`${tree.fallback}/${host}/${name}`] === undefined)
    if (foreign.length > 0) hidden.set(host, foreign)
  }
  const base = await observeTop(tree.base, files)
  return {
    base,
    certs: await observeTop(certs, files),
    isWritable: await files.isWritable(base.state.kind === 'absent' ? posix.dirname(tree.base) : tree.base),
    folders,
    hidden,
  }
}

async function observeTop(path: string, files: NodeFiles): Promise<ObservedFolder> {
  const state = await files.readFollowing(path)
  return { path, state, names: state.kind === 'folder' ? await files.list(path) : [] }
}

async function observeFolder(folder: string, files: NodeFiles): Promise<HostFolder> {
  const state = await files.read(folder)
  const found = new Map<string, FileState>()
  if (state.kind === 'folder')
    for (const name of await files.list(folder)) found.set(name, await files.read(`${folder}/${name}`))
  return { state, files: found }
}

export function planCertsTree(tree: CertsTree, input: TreeInput, observed: ObservedTree): TargetPlan {
  const { enabled } = input.desired.targets[tree.target]
  const isUnused = Object.keys(ownedBy(tree, input.owned)).length === 0
  const wanted = enabled === 'off' ? [] : wantedHosts(input.desired, tree)
  if (wanted.length === 0 && isUnused) return NOTHING_TO_DO
  const isThere = observed.base.state.kind === 'folder'
  if (!isThere && enabled !== 'on' && isUnused) return NOTHING_TO_DO
  if (!observed.isWritable || (!isThere && observed.base.state.kind !== 'absent')) {
    if (enabled !== 'on') return NOTHING_TO_DO
    const what = isThere ? 'is not writable' : 'is no folder and none can be made there'
    const text = `${tree.base} ${what}, but targets.${tree.target} is enabled`
    return { changes: [], problems: [problem('TARGET_READ_ONLY', text)] }
  }
  const changes: Change[] = []
  const unreadable = unreadableFolders(observed.folders)
  const problems = [...unreadable.values()]
  const keep = new Set([...heldPaths(tree, input), ...pathsIn(unreadable, Object.keys(ownedBy(tree, input.owned)))])
  for (const one of isThere || enabled === 'on' ? wanted : []) {
    if (unreadable.has(`${observed.certs.path}/${one.host}`)) continue
    const plan = planHost(tree, one, input, observed)
    changes.push(...plan.changes)
    problems.push(...plan.problems)
    for (const path of plan.keep) keep.add(path)
  }
  if (keep.size > 0) for (const path of [tree.base, observed.certs.path]) keep.add(path)
  const removal = planTreeRemoval(tree, input.owned, keep, observed)
  const creations = changes.some(({ action }) => action !== 'delete') ? foldersToCreate(tree, observed) : []
  return { changes: [...removal.changes, ...creations, ...changes], problems: [...problems, ...removal.problems] }
}

/** Every declared host with anchors of its own; a host whose anchor is broken now keeps what it has. */
function wantedHosts(desired: DesiredState, { target }: CertsTree): readonly Wanted[] {
  const found = new Map<string, Set<string>>()
  const add = (host: string, pems: readonly string[]) => {
    if (pems.length > 0) found.set(host, new Set([...(found.get(host) ?? []), ...pems]))
  }
  for (const registry of desired.registries) {
    const { certificates, held } = trustOf(registry, desired)
    if (held) continue
    add(
      registry.host,
      certificates.map(({ pem }) => pem),
    )
    // The containers tools ask mirrors too; dockerd does not.
    for (const mirror of target === 'containers' ? (registry.mirrors ?? []) : [])
      add(
        parseUrl(mirror.url)?.host ?? '',
        trustOfMirror(mirror, desired).map(({ pem }) => pem),
      )
  }
  return [...found].map(([host, pems]) => ({ host, ca: rootFile([...pems].join('')) }))
}

function heldPaths(tree: CertsTree, { desired, owned }: TreeInput): Set<string> {
  if (desired.targets[tree.target].enabled === 'off') return new Set()
  const isHeld = desired.registries.filter((registry) => trustOf(registry, desired).held)
  const held = new Set(
    isHeld.flatMap(({ host, mirrors = [] }) => [host, ...mirrors.map(({ url }) => parseUrl(url)?.host ?? '')]),
  )
  return new Set(
    Object.entries(ownedBy(tree, owned)).flatMap(([path, { subject }]) => (held.has(subject) ? [path] : [])),
  )
}

type HostPlan = Pick<TargetPlan, 'changes' | 'problems'> & { readonly keep: readonly string[] }

function planHost(tree: CertsTree, { host, ca: declared }: Wanted, input: TreeInput, observed: ObservedTree): HostPlan {
  const folder = `${observed.certs.path}/${host}`
  const found = observed.folders.get(folder) ?? { state: ABSENT, files: new Map() }
  const ca = input.unverified?.has(host) === true ? withOld(declared, found) : declared
  const base = { target: tree.target, subject: host, folder: observed.certs.path, forgets: [] } as const
  const leave = (why: string): HostPlan => ({
    changes: [],
    problems: [problem('FILE_FOREIGN', `${why}; the trust anchors of ${host} were not written for ${tree.target}`)],
    keep: [],
  })
  if (found.state.kind === 'absent' || (found.state.kind === 'folder' && found.files.size === 0)) {
    const hidden = observed.hidden.get(host)
    if (hidden !== undefined) return besideFallback(tree, host, hidden, input, leave)
    const path = `${folder}/${CA_FILE}`
    const after = { kind: 'tree', mode: 0o755, files: [{ name: CA_FILE, content: ca }] } as const
    const reason = `${host} has no folder in ${observed.certs.path}`
    const owns = [ownedFolder(folder), ownedFile(path, ca)]
    return {
      changes: [{ ...base, action: 'create', path: folder, reason, after, owns }],
      problems: [],
      keep: [folder, path],
    }
  }
  if (found.state.kind !== 'folder') return leave(`${folder} is ${whatIs(found.state)} in place of a folder`)
  const standard = `${folder}/${CA_FILE}`
  const there = found.files.get(CA_FILE) ?? ABSENT
  const isOurs = there.kind === 'absent' || input.owned[standard] !== undefined
  if (!isOurs && there.kind === 'file' && holdsAll(there.bytes, ca)) return { changes: [], problems: [], keep: [] }
  const path = isOurs ? standard : `${folder}/${CA_BESIDE_FOREIGN}`
  const state = found.files.get(posix.basename(path)) ?? ABSENT
  if (isFile(state, ca)) return { changes: [], problems: [], keep: [folder, path] }
  const action = state.kind === 'absent' ? 'create' : 'update'
  const change: Change = { ...base, ...difference(state, ca), action, path, after: ca, owns: [ownedFile(path, ca)] }
  return { changes: [change], problems: [], keep: [folder, path] }
}

/** The fallback folder serves the host as long as there is none here, client certificates in it included: it must stay that way. */
function besideFallback(
  tree: CertsTree,
  host: string,
  hidden: readonly string[],
  { desired }: TreeInput,
  leave: (why: string) => HostPlan,
): HostPlan {
  if (desired.targets.docker.enabled !== 'off') return { changes: [], problems: [], keep: [] }
  return leave(
    `a new folder of ${host} in ${tree.base}/certs.d would hide ${hidden.join(', ')} in ${tree.fallback}/${host}`,
  )
}

/** The old anchors stay beside the new ones until the new ones verify what the registry serves. */
function withOld(declared: RegularFile, { files }: HostFolder): RegularFile {
  const old = [CA_FILE, CA_BESIDE_FOREIGN].flatMap((name) => {
    const state = files.get(name)
    return state?.kind === 'file' ? decodeCertificates(state.bytes).certificates.map(({ pem }) => pem) : []
  })
  const text = declared.bytes.toString('utf8')
  return rootFile(text + [...new Set(old)].filter((pem) => !text.includes(pem)).join(''))
}

function holdsAll(bytes: Buffer, ca: RegularFile): boolean {
  const text = bytes.toString('utf8').replaceAll('\r\n', '\n')
  const blocks = ca.bytes.toString('utf8').split(/(?<=-----END CERTIFICATE-----\n)/)
  return blocks.every((block) => text.includes(block.trimEnd()))
}

function foldersToCreate(tree: CertsTree, observed: ObservedTree): readonly Change[] {
  const missing = [
    ...[observed.base, observed.certs].filter(({ state }) => state.kind === 'absent').map(({ path }) => path),
  ]
  return missing.map((path) => ({
    target: tree.target,
    action: 'create',
    path,
    reason: `${tree.target} reads host folders here`,
    subject: '',
    folder: posix.dirname(path),
    after: { kind: 'folder', mode: 0o755 },
    owns: [ownedFolder(path)],
    forgets: [],
  }))
}

/** Of this tree alone: the target may own other files beside it. */
export function ownedBy(tree: CertsTree, owned: AgentState['owned']): AgentState['owned'] {
  const [{ base, target }, certs] = [tree, hostsFolderOf(tree)]
  const isHere = (path: string) => path === base || path === certs || path.startsWith(`${certs}/`)
  return Object.fromEntries(Object.entries(owned).filter(([path, owner]) => owner.target === target && isHere(path)))
}

export function isOwnedFolder(owned: AgentState['owned'], path: string): boolean {
  return owned[path]?.kind === 'whole' && owned[path].sha256 === ''
}

function ownedFile(path: string, file: RegularFile): OwnedPath {
  return { path, kind: 'whole', sha256: sha256(file.bytes) }
}

function ownedFolder(path: string): OwnedPath {
  return { path, kind: 'whole', sha256: '' }
}
