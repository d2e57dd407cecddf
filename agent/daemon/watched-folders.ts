// Which folders of the node the daemon watches: what containerd and the tools read, and wherever something of the
// agent's lies. Pure.

import { posix } from 'node:path'
import type { ContainerdFacts } from '../model/observed-state.ts'
import type { AgentState } from '../model/state.ts'
import type { Target, WatchedFolder } from '../model/target.ts'
import { TARGETS } from '../targets/targets.ts'

/** Much goes on there: of these only a file of ours is watched. */
const TOO_WIDE: ReadonlySet<string> = new Set(['/', '/etc'])

const NO_LAYOUT = { configFile: '/etc/containerd/config.toml', layout: 'none' }

export function foldersToWatch({
  facts,
  certsDirectory,
  owned,
  targets = TARGETS,
}: {
  /** Undefined where containerd does not answer: what it reads is not watched then. */
  readonly facts: Pick<ContainerdFacts, 'configFile' | 'importFolders' | 'layout'> | undefined
  /** Of host directories; undefined where containerd reads none. */
  readonly certsDirectory: string | undefined
  readonly owned: AgentState['owned']
  /** Absent: all that the agent knows. */
  readonly targets?: readonly Target[] | undefined
}): readonly WatchedFolder[] {
  const known =
    facts === undefined
      ? targets
          .filter(({ isReadByContainerd }) => !isReadByContainerd)
          .flatMap((target) => target.watches({ facts: NO_LAYOUT, certsDirectory }))
      : targets.flatMap((target) => target.watches({ facts, certsDirectory }))
  // Stores of other distributions, registries.conf.d, drop-ins of config.toml.
  const others = [...(facts?.importFolders ?? []), ...Object.keys(owned).map(placeOf)]
  const isCovered = (path: string) => known.some((folder) => covers(folder, path))
  const more = [...new Set(others)].filter((path) => !isCovered(path)).toSorted()
  return [...known, ...more.map((path) => ({ path, depth: 0 }))]
}

/** The folder of a path of ours, or the path itself. */
function placeOf(path: string): string {
  const folder = posix.dirname(path)
  return TOO_WIDE.has(folder) ? path : folder
}

function covers({ path, depth }: WatchedFolder, other: string): boolean {
  const below = posix.relative(path, other)
  return below === '' || (!below.startsWith('..') && below.split('/').length <= depth)
}
