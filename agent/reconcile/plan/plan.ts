// Puts the plans of all targets together. A new target is one line in `planTargets`.
import { posix } from 'node:path'
import type { MovedFolder } from '../../containerd/edit/migrate-legacy.ts'
import { hostDirectoryName } from '../../containerd/hosts/hosts-toml.ts'
import {
  type DesiredState,
  needsHostFolder,
  type TrustAnchor,
  trustOf,
  withWildcard,
} from '../../model/desired-state.ts'
import { type Problem, problem } from '../../model/errors.ts'
import type { ContainerdFacts } from '../../model/observed-state.ts'
import { NO_RUNTIME } from '../../model/observed-state.ts'
import type { Change, Planned, RestartNeed } from '../../model/plan.ts'
import type { NodeFiles, StateStore } from '../../model/ports.ts'
import type { AgentState } from '../../model/state.ts'
import { observeMirrors, planMirrors } from '../../targets/certs-d/containers-mirrors.ts'
import { observeCertsTree } from '../../targets/certs-d/observe.ts'
import { planCertsTree } from '../../targets/certs-d/plan.ts'
import { type CertsTree, CONTAINERS, DOCKER } from '../../targets/certs-d/tree.ts'
import { type ConfigTargetPlan, observeConfig, planConfig } from '../../targets/containerd-config/plan.ts'
import { type ObservedHosts, observeHosts } from '../../targets/containerd-hosts/observe.ts'
import { planHosts, planMovedFolders } from '../../targets/containerd-hosts/plan.ts'
import { observeCrictl, planCrictl } from '../../targets/crictl/plan.ts'
import { withoutLinkedFolders } from '../../targets/guards/linked-folders.ts'
import { withoutUnmounted } from '../../targets/guards/unmounted.ts'
import { type K3sPlan, type ObservedK3s, observeK3s, planK3s, plannedCa } from '../../targets/k3s/plan.ts'
import { editRegistries } from '../../targets/k3s/registries-yaml.ts'
import { observeSystemTrust, planSystemTrust } from '../../targets/system-trust/debian.ts'
import { observeAnchorStore, planAnchorStore } from '../../targets/system-trust/families.ts'
import { NOTHING_TO_DO, type TargetInput, type TargetPlan } from '../../targets/target.ts'
import { renderString } from '../../text/toml.ts'

export type PlanInput = {
  readonly desired: DesiredState
  readonly state: AgentState
  readonly facts: ContainerdFacts
  /** Hosts that are trusted now and would not be with the declared anchors alone (see TargetInput). */
  readonly unverified?: ReadonlySet<string>
  readonly migrateAll?: boolean
}

/** Reads the node and decides; changes nothing. config.toml comes last: its change needs a restart. */
export async function makePlan(
  { desired, state, facts, unverified = new Set(), migrateAll = false }: PlanInput,
  ports: { readonly files: NodeFiles; readonly store: Pick<StateStore, 'backup'> },
): Promise<Planned> {
  const { files } = ports
  const base: TargetInput = { desired, owned: state.owned, unverified, migrateAll }
  const observedK3s = await observeK3s(base, facts, files)
  const k3s = planK3s(base, observedK3s, editRegistries)
  const input: TargetInput = { ...base, namedByDistribution: k3s.named }
  const config = await planConfig(input, await observeConfig(facts, input, ports))
  const { observed: observedHosts, changes: moved } = await observeWithMoved(input, config, files)
  const hosts =
    observedHosts === undefined
      ? await planUnreadHosts(input, config, facts, files)
      : await planHosts(input, observedHosts)
  const store = await observeAnchorStore(input, files)
  // Where sources have a folder of their own, /etc/ssl/certs is a link to what is made of them.
  const system =
    store.family?.sources === undefined ? planSystemTrust(input, await observeSystemTrust(input, files)) : NOTHING_TO_DO
  const planTree = async (tree: CertsTree) => planCertsTree(tree, input, await observeCertsTree(tree, input, files))
  const socket = facts.socket === NO_RUNTIME ? undefined : facts.socket
  const crictl = planCrictl(input, socket, await observeCrictl(files))
  const mirrors = planMirrors(input, await observeMirrors(files))
  // What containerd reads comes first: pulls wait for it.
  const targets = [
    { changes: moved, problems: [] },
    hosts,
    k3s,
    system,
    planAnchorStore(input, store),
    await planTree(DOCKER),
    await planTree(CONTAINERS),
    mirrors,
    crictl,
    { ...config, problems: problemsOfConfig(config, k3s, facts) },
  ]
  const seen = withoutUnmounted(
    targets.flatMap(({ changes }) => changes),
    files,
  )
  const { kept, problems } = await withoutLinkedFolders(seen.kept, files)
  return {
    plan: {
      generation: desired.generation,
      changes: kept,
      restart: config.restart ?? restartOfDistribution(config, k3s, facts),
      certsDirectory: config.certsDirectory,
      problems: [
        ...anchorProblems(desired, isHeld),
        ...withWildcard(desired).flatMap(({ problems = [] }) => problems),
        ...targets.flatMap((target) => target.problems),
        ...seen.problems,
        ...problems,
      ],
      warnings: [
        ...anchorProblems(desired, (anchor) => !isHeld(anchor)),
        ...sandboxWarning(facts),
        ...[hosts, k3s, config, mirrors].flatMap(({ warnings = [] }) => warnings),
      ],
    },
    candidateConfig: config.candidate,
    ...(config.legacyFiles === undefined ? {} : { legacyFiles: config.legacyFiles }),
    leftOut: [],
    conflicts: [],
    stagedHosts:
      observedHosts === undefined
        ? []
        : withCaOfDistribution(
            stageHosts(desired, config.moved, observedHosts, [...moved, ...hosts.changes]),
            k3s,
            observedK3s,
          ),
  }
}

/** Where k3s or RKE2 write a config.toml without config_path, their registries.yaml is the way and the file needs no edit. */
function problemsOfConfig(config: ConfigTargetPlan, { named }: K3sPlan, facts: ContainerdFacts): readonly Problem[] {
  const isTheirs = facts.isConfigGenerated && named.size > 0
  return isTheirs ? config.problems.filter(({ code }) => code !== 'CONFIG_EDIT_UNSUPPORTED') : config.problems
}

/** Never the agent's to make: the kubelet restarts with it, and on a server the API and its database too. */
function restartOfDistribution(
  { certsDirectory }: ConfigTargetPlan,
  { named }: K3sPlan,
  facts: ContainerdFacts,
): RestartNeed {
  const loaded = facts.config.kind === 'file' ? facts.config.bytes.toString('utf8') : ''
  const due = certsDirectory !== undefined ? [] : [...named].filter(([, caFile]) => !loaded.includes(caFile))
  if (due.length === 0) return { required: false, reason: '' }
  const hosts = due.map(([host]) => host).join(', ')
  return {
    required: true,
    reason: `this ${facts.layout} sets no config_path, so the CA of ${hosts} counts from its next start on`,
    byHand: `restart ${facts.unit?.name ?? facts.layout} when it suits you: the kubelet and containerd restart with it, so the agent does not`,
  }
}

/** hosts.toml of k3s names our CA file by its place on the node, which the copy of containerd does not see. */
function withCaOfDistribution(
  staged: Planned['stagedHosts'],
  k3s: K3sPlan,
  observed: ObservedK3s | undefined,
): Planned['stagedHosts'] {
  return staged.flatMap(({ path, bytes }) => {
    const text = bytes.toString('utf8')
    const caFile = [...k3s.named.values()].find((one) => text.includes(renderString(one)))
    const ca = caFile === undefined ? undefined : plannedCa(k3s, observed, caFile)
    if (caFile === undefined || ca === undefined) return [{ path, bytes }]
    const beside = 'registry-trust-k3s.crt'
    const moved = text.replaceAll(renderString(caFile), renderString(beside))
    return [
      { path: `${posix.dirname(path)}/${beside}`, bytes: ca },
      { path, bytes: Buffer.from(moved) },
    ]
  })
}

function sandboxWarning({ missingSandboxImage: image, configFile }: ContainerdFacts): readonly Problem[] {
  if (image === undefined) return []
  return [problem('SANDBOX_IMAGE_MISSING', `the sandbox image ${image} (${configFile}) is not on this node`)]
}

/** The host directories as they are once what config.toml said has moved there. */
async function observeWithMoved(
  input: TargetInput,
  { certsDirectory, moved }: Pick<ConfigTargetPlan, 'certsDirectory' | 'moved'>,
  files: NodeFiles,
): Promise<{ readonly observed: ObservedHosts | undefined; readonly changes: readonly Change[] }> {
  if (certsDirectory === undefined) return { observed: undefined, changes: [] }
  return planMovedFolders(moved, await observeHosts(input, certsDirectory, files))
}

/** Host directories of the agent's own that containerd does not read: config.toml says it all, or nobody needs them any more. */
async function planUnreadHosts(
  input: TargetInput,
  { legacyFiles, problems }: Pick<ConfigTargetPlan, 'legacyFiles' | 'problems'>,
  { defaultCertsDirectory }: ContainerdFacts,
  files: NodeFiles,
): Promise<TargetPlan> {
  const isOwned = Object.values(input.owned).some(({ target }) => target === 'containerd-hosts')
  const isNeeded = withWildcard(input.desired).some(
    (registry) => needsHostFolder(registry, input.desired) || trustOf(registry, input.desired).held,
  )
  const isUseless = legacyFiles !== undefined || (!isNeeded && problems.length === 0)
  if (!isUseless || !isOwned) return NOTHING_TO_DO
  const { wildcard: _, ...desired } = input.desired
  const nothing = { ...input, desired: { ...desired, registries: [] } }
  return planHosts(nothing, await observeHosts(nothing, defaultCertsDirectory, files))
}

/** Nothing of the anchor can be used now: what it put on the node stays. */
function isHeld(anchor: TrustAnchor): boolean {
  return anchor.certificates.length === 0
}

function anchorProblems(desired: DesiredState, which: (anchor: TrustAnchor) => boolean): readonly Problem[] {
  return desired.anchors.filter(which).flatMap(({ problems }) => problems)
}

function stageHosts(
  desired: DesiredState,
  moved: readonly MovedFolder[],
  observed: ObservedHosts,
  changes: readonly Change[],
): Planned['stagedHosts'] {
  const declared = withWildcard(desired).map(({ host }) => hostDirectoryName(host, observed.names))
  const names = new Set([...declared, ...moved.map(({ name }) => name)])
  return [...names].flatMap((name) => {
    const folder = `${observed.certsDirectory}/${name}`
    const files = new Map<string, Buffer>()
    for (const [file, state] of observed.folders.get(folder)?.files ?? [])
      if (state.kind === 'file') files.set(file, state.bytes)
    for (const { path, after } of changes) {
      if (path === folder && after.kind === 'tree')
        for (const one of after.files) files.set(one.name, one.content.bytes)
      if (posix.dirname(path) !== folder) continue
      if (after.kind === 'file') files.set(posix.basename(path), after.bytes)
      if (after.kind === 'absent') files.delete(posix.basename(path))
    }
    return [...files].map(([file, bytes]) => ({ path: `${name}/${file}`, bytes }))
  })
}
