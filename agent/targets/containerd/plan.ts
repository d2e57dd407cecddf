// Everything that containerd reads, planned together because the parts depend on each other: where the host directories
// lie is what config.toml says once it is edited, and what k3s and RKE2 write there comes from their registries.yaml.
// Pure.
import { posix } from 'node:path'
import { layoutNamed } from '../../containerd/layouts.ts'
import { needsHostFolder, trustOf, withWildcard } from '../../model/desired-state.ts'
import { type Problem, problem } from '../../model/errors.ts'
import type { ContainerdFacts } from '../../model/observed-state.ts'
import type { Change, RestartNeed } from '../../model/plan.ts'
import type { TargetInput, TargetPlan, WholePlan } from '../../model/target.ts'
import { type ConfigTargetPlan, planConfig } from '../containerd-config/plan.ts'
import { withSandboxImage } from '../containerd-config/sandbox-image.ts'
import type { ObservedHosts } from '../containerd-hosts/observe.ts'
import { planHosts, planMovedFolders } from '../containerd-hosts/plan.ts'
import { NOTHING_TO_DO } from '../files/files.ts'
import { type K3sPlan, planK3s } from '../k3s/plan.ts'
import { hostsIn, type ObservedContainerd } from './observe.ts'
import { stageHosts, withCaOfDistribution } from './staged.ts'

export async function planContainerd(base: TargetInput, observed: ObservedContainerd): Promise<WholePlan> {
  const { facts } = observed
  const k3s = planK3s(base, observed.k3s)
  const input = { ...base, namedByDistribution: k3s.named }
  const config = await withSandboxImage(await planConfig(input, observed.config), input, observed.config)
  const { seen, changes: moved } = withMoved(config, observed)
  const hosts = seen === undefined ? await planUnreadHosts(input, config, observed) : await planHosts(input, seen)
  return {
    changes: [...moved, ...hosts.changes, ...k3s.changes],
    problems: [...hosts.problems, ...k3s.problems],
    warnings: [sandboxWarning(facts), ...[hosts, k3s, config].map(({ warnings = [] }) => warnings)].flat(),
    restart: config.restart === undefined ? restartOfDistribution(config, k3s, facts) : leftTo(facts, config.restart),
    last: { changes: config.changes, problems: problemsOfConfig(config, k3s, facts) },
    candidate: {
      certsDirectory: config.certsDirectory,
      candidateConfig: config.candidate,
      ...(config.legacyFiles === undefined ? {} : { legacyFiles: config.legacyFiles }),
      stagedHosts:
        seen === undefined
          ? []
          : withCaOfDistribution(
              stageHosts(base.desired, config.moved, seen, [...moved, ...hosts.changes]),
              k3s,
              observed.k3s,
            ),
    },
  }
}

/**
 * The host directories as they are once what config.toml said has moved there; undefined where containerd reads none.
 */
function withMoved(
  { certsDirectory, moved }: Pick<ConfigTargetPlan, 'certsDirectory' | 'moved'>,
  observed: ObservedContainerd,
): { readonly seen: ObservedHosts | undefined; readonly changes: readonly Change[] } {
  if (certsDirectory === undefined) return { seen: undefined, changes: [] }
  const { observed: seen, changes } = planMovedFolders(moved, hostsIn(certsDirectory, observed))
  return { seen, changes }
}

/**
 * Host directories of the agent's own that containerd does not read: config.toml says it all, or they are not needed
 * any more.
 */
async function planUnreadHosts(
  input: TargetInput,
  { legacyFiles, problems }: Pick<ConfigTargetPlan, 'legacyFiles' | 'problems'>,
  observed: ObservedContainerd,
): Promise<TargetPlan> {
  const isOwned = Object.values(input.owned).some(({ target }) => target === 'containerd-hosts')
  const isNeeded = withWildcard(input.desired).some(
    (registry) => needsHostFolder(registry, input.desired) || trustOf(registry, input.desired).held,
  )
  const isUseless = legacyFiles !== undefined || (!isNeeded && problems.length === 0)
  if (!isUseless || !isOwned) return NOTHING_TO_DO
  const { wildcard: _, ...desired } = input.desired
  const nothing = { ...input, desired: { ...desired, registries: [] } }
  const all = hostsIn(observed.facts.defaultCertsDirectory, observed)
  const isOurs = foldersOfOurs(input.owned)
  const ours = [...all.folders].filter(([folder]) => isOurs.has(folder))
  return planHosts(nothing, { ...all, folders: new Map(ours) })
}

/** Every folder that is ours or that something of ours lies in, at any depth. */
function foldersOfOurs(owned: TargetInput['owned']): ReadonlySet<string> {
  const folders = new Set<string>()
  for (const [path, { target }] of Object.entries(owned)) {
    if (target !== 'containerd-hosts') continue
    for (let folder = path; !folders.has(folder) && folder !== '/'; folder = posix.dirname(folder)) folders.add(folder)
  }
  return folders
}

/**
 * Where k3s or RKE2 write a config.toml without config_path, their registries.yaml is the way and the file needs no
 * edit.
 */
function problemsOfConfig(config: ConfigTargetPlan, { named }: K3sPlan, facts: ContainerdFacts): readonly Problem[] {
  const isTheirs = facts.isConfigGenerated && named.size > 0
  return isTheirs ? config.problems.filter(({ code }) => code !== 'CONFIG_EDIT_UNSUPPORTED') : config.problems
}

/** What the unit of a distribution starts is more than containerd: its restart is never the agent's to make. */
function leftTo({ layout: name, unit, isConfigGenerated }: ContainerdFacts, need: RestartNeed): RestartNeed {
  if (!isConfigGenerated || !need.required) return need
  const byHand =
    layoutNamed(name)?.dropIns === undefined
      ? byHandOf(unit?.name ?? name)
      : `${name} restarts containerd by itself within a few seconds; where it does not, restart ${unit?.name ?? name} when it suits you`
  return { ...need, byHand }
}

function byHandOf(unit: string): string {
  return `restart ${unit} when it suits you: the kubelet and containerd restart with it, so the agent does not`
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
    byHand: byHandOf(facts.unit?.name ?? facts.layout),
  }
}

function sandboxWarning({ missingSandboxImage: image, configFile }: ContainerdFacts): readonly Problem[] {
  if (image === undefined) return []
  return [problem('SANDBOX_IMAGE_MISSING', `the sandbox image ${image} (${configFile}) is not on this node`)]
}
