// Docker's way to trust: FOLDER/certs.d/HOST[:PORT]/ca.crt, read at each connection, so nothing has to be restarted.
// dockerd reads /etc/docker, the containers tools (CRI-O, podman, buildah, skopeo) read /etc/containers. All *.crt of a
// host folder count: a CA of someone else stays and ours lies beside it. Source: docs.docker.com "certificates",
// containers-certs.d(5).
import { posix } from 'node:path'
import { parseUrl } from '../../containerd/hosts/endpoint.ts'
import { trustOf } from '../../model/desired-state.ts'
import { problem } from '../../model/errors.ts'
import type { Change, RegularFile } from '../../model/plan.ts'
import type { FileState } from '../../model/ports.ts'
import type { TargetPlan } from '../../model/target.ts'
import { decodeCertificates } from '../../pki/decode/decode.ts'
import {
  difference,
  type HostFolder,
  isFile,
  NOTHING_TO_DO,
  pathsIn,
  rootFile,
  unreadableFolders,
  whatIs,
} from '../files/files.ts'
import { ownedFile, ownedFolder } from '../files/ownership.ts'
import { outOfReach } from '../guards/out-of-reach.ts'
import type { ObservedTree } from './observe.ts'
import { planTreeRemoval } from './removal.ts'
import { CA_FILE, type CertsTree, ownedBy, type TreeInput, type Wanted, wantedHosts } from './tree.ts'

/** Ours in a folder where someone else's ca.crt stands. */
const CA_BESIDE_FOREIGN = 'registry-trust.crt'
const ABSENT: FileState = { kind: 'absent' }

export function planCertsTree(tree: CertsTree, input: TreeInput, observed: ObservedTree): TargetPlan {
  const { enabled } = input.desired.targets[tree.target]
  const isUnused = Object.keys(ownedBy(tree, input.owned)).length === 0
  const wanted = enabled === 'off' ? [] : wantedHosts(input.desired, tree)
  if (wanted.length === 0 && isUnused) return NOTHING_TO_DO
  const isThere = observed.base.state.kind === 'folder'
  if (!isThere && enabled !== 'on' && isUnused) return NOTHING_TO_DO
  const isReachable = observed.isWritable && (isThere || observed.base.state.kind === 'absent')
  if (!isReachable && enabled === 'on') {
    const what = isThere ? 'is not writable' : 'is not a folder, and none can be created there'
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
  const plan = { changes: [...removal.changes, ...creations, ...changes], problems: [...problems, ...removal.problems] }
  return isReachable ? plan : outOfReach(plan, input.owned, tree.base)
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

/**
 * The fallback folder serves the host as long as there is none here, client certificates in it included: it must stay
 * that way.
 */
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
