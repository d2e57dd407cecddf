// Which folders of the node the daemon watches: what containerd and the tools read, and wherever something of the agent's lies. Pure.
import { posix } from 'node:path'
import type { ContainerdFacts } from '../model/observed-state.ts'
import type { AgentState } from '../model/state.ts'
import { CONTAINERS, DOCKER, hostsFolderOf } from '../targets/certs-d/tree.ts'
import { legacyFolder } from '../targets/containerd-config/legacy-files.ts'
import { foldersOfDistribution } from '../targets/k3s/plan.ts'
import { LOCAL_ANCHORS, SYSTEM_CERTS } from '../targets/system-trust/debian.ts'

/** `depth`: how many levels of folders below it count as well. */
export type WatchedFolder = { readonly path: string; readonly depth: number }

/** Not worth a watch for each of its files: much goes on there, and the one file of ours in it (crictl.yaml) is nobody's prey. */
const TOO_WIDE: ReadonlySet<string> = new Set(['/', '/etc'])

export function foldersToWatch({
  facts,
  certsDirectory,
  owned,
}: {
  readonly facts: Pick<ContainerdFacts, 'configFile' | 'importFolders' | 'layout'>
  /** Of host directories; undefined where containerd reads none. */
  readonly certsDirectory: string | undefined
  readonly owned: AgentState['owned']
}): readonly WatchedFolder[] {
  const known: readonly WatchedFolder[] = [
    { path: posix.dirname(facts.configFile), depth: 0 },
    { path: legacyFolder(facts.configFile), depth: 1 },
    ...(certsDirectory === undefined ? [] : [{ path: certsDirectory, depth: 1 }]),
    { path: SYSTEM_CERTS, depth: 0 },
    { path: LOCAL_ANCHORS, depth: 0 },
    ...foldersOfDistribution(facts.layout),
    ...[DOCKER, CONTAINERS].map((tree) => ({ path: hostsFolderOf(tree), depth: 1 })),
  ]
  // Stores of other distributions, registries.conf.d, drop-ins of config.toml.
  const others = [...facts.importFolders, ...Object.keys(owned).map((path) => posix.dirname(path))]
  const isCovered = (path: string) => TOO_WIDE.has(path) || known.some((folder) => covers(folder, path))
  const more = [...new Set(others)].filter((path) => !isCovered(path)).toSorted()
  return [...known, ...more.map((path) => ({ path, depth: 0 }))]
}

function covers({ path, depth }: WatchedFolder, other: string): boolean {
  const below = posix.relative(path, other)
  return below === '' || (!below.startsWith('..') && below.split('/').length <= depth)
}
