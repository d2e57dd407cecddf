// registries.yaml of k3s and RKE2, from which each of their starts writes containerd's host directories anew.
// hosts.toml works at once and without a restart (containerd-hosts.ts); this target sees to it that the next start says
// the same: the CA lies where no start wipes it, and registries.yaml names it. A host that asks for more than trust is
// left out: k3s would write its directory with the CA alone. Source: github.com/k3s-io/k3s
// pkg/agent/containerd/config.go (writeContainerdHosts, cleanContainerdHosts, getHostConfigs).

import { asksForMoreThanTrust, type DesiredState, trustOf } from '../../model/desired-state.ts'
import { type Problem, problem } from '../../model/errors.ts'
import type { Change } from '../../model/plan.ts'
import type { FileState } from '../../model/ports.ts'
import type { TargetInput, TargetPlan } from '../../model/target.ts'
import { planCertsTree } from '../certs-d/plan.ts'
import { CA_FILE, hostsFolderOf } from '../certs-d/tree.ts'
import { NOTHING_TO_DO, rootFile, sha256, whatIs } from '../files/files.ts'
import { type Distribution, type ObservedK3s, ownedHere, registriesFile, TARGET, treeOf } from './observe.ts'
import { editRegistries } from './registries-yaml.ts'

export type K3sPlan = TargetPlan & {
  /** By host: the CA file that registries.yaml names once the plan is carried out. */
  readonly named: ReadonlyMap<string, string>
}

const NOT_HERE: K3sPlan = { ...NOTHING_TO_DO, named: new Map() }

export function planK3s(input: TargetInput, observed: ObservedK3s | undefined): K3sPlan {
  if (observed === undefined) return NOT_HERE
  const { distribution, file, tree } = observed
  const path = registriesFile(distribution)
  const isUnused = ownedHere(distribution, input.owned).length === 0
  const desired = restricted(input.desired, observed)
  const isOn = desired.targets.k3s.enabled !== 'off'
  const isPossible = tree.base.state.kind === 'folder' && !observed.isLink && tree.isWritable
  if (isUnused && (!isOn || desired.registries.length === 0)) return NOT_HERE
  const text = textOf(file)
  const editWith = (caFiles: ReadonlyMap<string, string>) =>
    editRegistries(text ?? '', {
      caFiles,
      ownFolder: hostsFolderOf(treeOf(distribution)),
      noDefaultEndpoint: observed.noDefaultEndpoint,
    })
  const wanted = isOn ? wantedFiles(desired, input, distribution) : new Map<string, string>()
  if (observed.elsewhere !== undefined && wanted.size > 0) {
    const what = `${distribution} reads ${observed.elsewhere} (private-registry) instead of ${path}, which was left unchanged`
    return { ...NOT_HERE, problems: [problem('K3S_REGISTRIES_UNSUPPORTED', what)] }
  }
  const unread = { ok: false, reason: `is ${whatIs(file)}`, named: new Map<string, string>() } as const
  const edited = text === undefined ? unread : editWith(wanted)
  if (!isPossible || !edited.ok) {
    const isSettled = isUnused || (edited.ok && edited.text === text && isTreeSettled(input, desired, observed))
    if (!isPossible && desired.targets.k3s.enabled !== 'on' && isSettled) return NOT_HERE
    const why = edited.ok ? `${tree.base.path} cannot be written` : `${path}: ${edited.reason}`
    const what = `${why}; the next start of ${distribution} does not know the trust anchors of trust.yaml`
    const unedited = file.kind === 'unreadable' ? 'NODE_FILE_UNREADABLE' : 'K3S_REGISTRIES_UNSUPPORTED'
    const code = edited.ok ? 'TARGET_READ_ONLY' : unedited
    return { changes: [], problems: [problem(code, what)], named: edited.ok ? new Map() : edited.named }
  }
  const accepted = desired.registries.filter(({ host }) => !edited.refused.has(host))
  const folders = planCertsTree(treeOf(distribution), { ...input, desired: { ...desired, registries: accepted } }, tree)
  const isPlaced = (caFile: string) =>
    input.owned[caFile] !== undefined || folders.changes.some(({ owns }) => owns.some((own) => own.path === caFile))
  const final = editWith(new Map([...edited.named].filter(([, caFile]) => isPlaced(caFile))))
  if (!final.ok)
    return {
      ...NOT_HERE,
      named: final.named,
      problems: [problem('K3S_REGISTRIES_UNSUPPORTED', `${path}: ${final.reason}`)],
    }
  const removals = folders.changes.filter(({ action }) => action === 'delete')
  const kept = keptFiles(removals, [...final.named.values()], observed)
  return {
    changes: [
      ...folders.changes.filter(({ action }) => action !== 'delete'),
      ...fileChange(path, final.text, final.named.size > 0, input.owned, file),
      ...removals.filter((removal) => !kept.some((caFile) => isAround(removal.path, caFile))),
    ],
    problems: [
      ...folders.problems,
      ...refusals(path, edited.refused, 'unsupported'),
      ...restartsDue(kept, final.named, observed),
    ],
    warnings: refusals(path, edited.refused, 'foreign'),
    named: final.named,
  }
}

/** Nothing of the agent's below the folder of CA files would have to change. */
function isTreeSettled(input: TargetInput, desired: DesiredState, { distribution, tree }: ObservedK3s): boolean {
  return planCertsTree(treeOf(distribution), { ...input, desired }, tree).problems.length === 0
}

function textOf(file: FileState): string | undefined {
  if (file.kind === 'absent') return ''
  return file.kind === 'file' ? file.bytes.toString('utf8') : undefined
}

/** What k3s can say in registries.yaml; without containerd's host directories, or on another node, nothing. */
function restricted(desired: DesiredState, { isThis }: ObservedK3s): DesiredState {
  const isOff = !isThis || desired.targets.containerd.enabled === 'off' || desired.targets.k3s.enabled === 'off'
  const targets = isOff ? { ...desired.targets, k3s: { enabled: 'off' as const } } : desired.targets
  const registries = desired.registries.filter((registry) => !asksForMoreThanTrust(registry))
  return { ...desired, targets, registries }
}

/** A host whose anchor is broken now keeps what it has. */
function wantedFiles(
  desired: DesiredState,
  { owned }: TargetInput,
  distribution: Distribution,
): ReadonlyMap<string, string> {
  const files = desired.registries.flatMap((registry) => {
    const path = `${hostsFolderOf(treeOf(distribution))}/${registry.host}/${CA_FILE}`
    const { held, certificates } = trustOf(registry, desired)
    const isWanted = held ? owned[path] !== undefined : certificates.length > 0
    return isWanted ? [[registry.host, path] as const] : []
  })
  return new Map(files)
}

function refusals(
  path: string,
  refused: ReadonlyMap<string, { readonly kind: 'foreign' | 'unsupported'; readonly reason: string }>,
  kind: 'foreign' | 'unsupported',
): readonly Problem[] {
  const code = kind === 'foreign' ? 'K3S_REGISTRIES_FOREIGN' : 'K3S_REGISTRIES_UNSUPPORTED'
  return [...refused]
    .filter(([, refusal]) => refusal.kind === kind)
    .map(([host, { reason }]) => problem(code, `${path}: ${host} ${reason}; it was left unchanged`))
}

/** CA files that something on the node still names: a host whose CA file is gone cannot be pulled from at all. */
function keptFiles(removals: readonly Change[], named: readonly string[], { loadedConfig, distribution }: ObservedK3s) {
  const folder = hostsFolderOf(treeOf(distribution))
  const inConfig = [...loadedConfig.matchAll(/["']([^"'\n]+\/ca\.crt)["']/g)].flatMap(([, path]) => path ?? [])
  const candidates = [...named, ...inConfig.filter((path) => path.startsWith(`${folder}/`))]
  return candidates.filter((caFile) => removals.some(({ path }) => isAround(path, caFile)))
}

function isAround(path: string, caFile: string): boolean {
  return caFile === path || caFile.startsWith(`${path}/`)
}

function restartsDue(kept: readonly string[], named: ReadonlyMap<string, string>, { distribution }: ObservedK3s) {
  const stale = kept.filter((caFile) => ![...named.values()].includes(caFile))
  if (stale.length === 0) return []
  const text = `${stale.join(', ')}: the running containerd still reads it; it stays until ${distribution} is restarted`
  return [problem('K3S_RESTART_DUE', text)]
}

function fileChange(
  path: string,
  text: string,
  isOurs: boolean,
  owned: TargetInput['owned'],
  file: FileState,
): readonly Change[] {
  const owner = owned[path]
  const isSame = textOf(file) === text
  if (isSame && isOurs === (owner !== undefined)) return []
  const bytes = Buffer.from(text)
  // It may hold passwords: a new one is for root alone, one that is there keeps its mode and owner.
  const after =
    file.kind === 'file' ? { ...rootFile(bytes, file.mode), uid: file.uid, gid: file.gid } : rootFile(bytes, 0o600)
  const base = { target: TARGET, path, subject: '', folder: path.slice(0, path.lastIndexOf('/')) } as const
  if (isOurs) {
    const isNew = file.kind === 'absent'
    const reason = 'the next start writes the host directories from it'
    const owns = [{ path, kind: 'edited', sha256: sha256(bytes) }] as const
    return [
      {
        ...base,
        action: isNew ? 'create' : 'edit',
        drift: isNew ? 'missing' : 'changed',
        reason,
        after,
        owns,
        forgets: [],
      },
    ]
  }
  const isGone = file.kind !== 'file' || (text === '' && owner?.before.kind === 'absent')
  const reason = isSame
    ? 'it is no longer managed by the agent'
    : 'no CA file of the agent is to be named there any more'
  const left = isGone ? ({ kind: 'absent' } as const) : after
  return [{ ...base, action: isGone ? 'delete' : 'edit', reason, after: left, owns: [], forgets: [path] }]
}

/**
 * The bytes of a CA file of ours once the plan is carried out: for the rehearsal, which does not see the node's own
 * folder.
 */
export function plannedCa(
  { changes }: TargetPlan,
  observed: ObservedK3s | undefined,
  caFile: string,
): Buffer | undefined {
  const [folder, name] = [caFile.slice(0, caFile.lastIndexOf('/')), CA_FILE]
  for (const { path, after } of changes) {
    if (path === caFile && after.kind === 'file') return after.bytes
    if (path === folder && after.kind === 'tree') return after.files.find((file) => file.name === name)?.content.bytes
  }
  const state = observed?.tree.folders.get(folder)?.files.get(name)
  return state?.kind === 'file' ? state.bytes : undefined
}
