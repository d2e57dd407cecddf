// containerd as a target, whole: host directories, the registries.yaml that k3s and RKE2 write them from, and
// config.toml, which says where they lie and comes last, because it counts with a restart alone.
// This room: what containerd reads, put together of its parts: containerd-hosts/, containerd-config/ and k3s/.
// Begin here; then plan.ts (how the parts depend on each other).
// May touch: nothing by itself; the parts name their paths.
import { posix } from 'node:path'
import { needsHostFolder, withWildcard } from '../../model/desired-state.ts'
import type { Need, Target } from '../../model/target.ts'
import { legacyFolder } from '../containerd-config/legacy-files.ts'
import { FULL } from '../files/profiles.ts'
import { foldersOfDistribution } from '../k3s/observe.ts'
import { examineContainerd } from './examine.ts'
import { type ObservedContainerd, observeContainerdFiles } from './observe.ts'
import { planContainerd } from './plan.ts'

export const CONTAINERD: Target<ObservedContainerd> = {
  names: ['containerd-hosts', 'k3s', 'containerd-config'],
  servesHosts: ['containerd-hosts', 'k3s'],
  isReadByContainerd: true,
  observe: observeContainerdFiles,
  plan: planContainerd,
  watches: ({ facts, certsDirectory }) => [
    { path: posix.dirname(facts.configFile), depth: 0 },
    { path: legacyFolder(facts.configFile), depth: 1 },
    ...(certsDirectory === undefined ? [] : [{ path: certsDirectory, depth: 1 }]),
    ...foldersOfDistribution(facts.layout),
  ],
  needs: needsOfContainerd,
  examine: examineContainerd,
}

function needsOfContainerd({ desired, facts, plan }: Parameters<Target['needs']>[0]): readonly Need[] {
  const writes = desired.mode === 'enforce'
  const isWanted = desired.targets.containerd.enabled !== 'off'
  const isHosts = isWanted && withWildcard(desired).some((one) => needsHostFolder(one, desired))
  const folder = plan?.certsDirectory ?? facts?.defaultCertsDirectory
  const needs: Need[] = []
  if (isHosts && folder !== undefined)
    needs.push({
      path: folder,
      access: writes ? 'write' : 'read',
      why: 'hosts.toml and the CA files',
      remedy: `Deploy the profile \`hosts\` or more${facts?.isConfigGenerated === true ? `, as the overlay for ${facts.layout}` : ''}.`,
    })
  if (facts !== undefined && plan?.changes.some(({ target }) => target === 'containerd-config') === true && writes)
    needs.push({
      path: posix.dirname(facts.configFile),
      access: 'write',
      why: `the edit of ${facts.configFile}`,
      remedy: `${FULL}, or set config_path on the node yourself.`,
    })
  return needs
}
