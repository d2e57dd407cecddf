// Which folders of the node the daemon watches: what containerd and the tools read, and wherever something of the
// agent's lies. Pure.

import { posix } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type { ContainerdFacts } from '../../model/observed-state.ts'
import type { AgentState } from '../../model/state.ts'
import type { Target, WatchedFolder } from '../../model/target.ts'
import { TARGETS } from '../../targets/targets.ts'

/** Much goes on there: of these only a file of ours is watched. */
const TOO_WIDE: ReadonlySet<string> = new Set(['/', '/etc'])

const NO_LAYOUT = { configFile: '/etc/containerd/config.toml', layout: 'none' }

type FoldersInput = {
  /** Undefined where containerd does not answer: what it reads is not watched then. */
  readonly facts: Pick<ContainerdFacts, 'configFile' | 'importFolders' | 'layout'> | undefined
  /** Of host directories; undefined where containerd reads none. */
  readonly certsDirectory: string | undefined
  readonly owned: AgentState['owned']
}

/**
 * One for the life of the process: the same list, the very object, as long as it would be made from the same.
 * `targets`: absent, all that the agent knows.
 */
export function watchedFolders(
  targets: readonly Target[] | undefined,
): (input: FoldersInput) => readonly WatchedFolder[] {
  let last: (FoldersInput & { readonly folders: readonly WatchedFolder[] }) | undefined
  return (input) => {
    const { owned, certsDirectory } = input
    const facts = input.facts && {
      configFile: input.facts.configFile,
      layout: input.facts.layout,
      importFolders: input.facts.importFolders,
    }
    const isSame =
      last?.owned === owned && last.certsDirectory === certsDirectory && isDeepStrictEqual(last.facts, facts)
    if (last === undefined || !isSame)
      last = { facts, certsDirectory, owned, folders: foldersToWatch({ facts, certsDirectory, owned, targets }) }
    return last.folders
  }
}

export function foldersToWatch({
  facts,
  certsDirectory,
  owned,
  targets = TARGETS,
}: FoldersInput & { readonly targets?: readonly Target[] | undefined }): readonly WatchedFolder[] {
  const known =
    facts === undefined
      ? targets
          .filter(({ isReadByContainerd }) => !isReadByContainerd)
          .flatMap((target) => target.watches({ facts: NO_LAYOUT, certsDirectory }))
      : targets.flatMap((target) => target.watches({ facts, certsDirectory }))
  // Stores of other distributions, registries.conf.d, drop-ins of config.toml.
  const others = [...(facts?.importFolders ?? []), ...Object.keys(owned).map(placeOf)]
  const isCovered = coverageOf(known)
  const more = [...new Set(others)].filter((path) => !isCovered(path)).toSorted()
  return [...known, ...more.map((path) => ({ path, depth: 0 }))]
}

/** The folder of a path of ours, or the path itself. */
function placeOf(path: string): string {
  const folder = posix.dirname(path)
  return TOO_WIDE.has(folder) ? path : folder
}

/** Looks up the folders on the way to a path, where a comparison with each folder would be the square of the registries. */
function coverageOf(folders: readonly WatchedFolder[]): (path: string) => boolean {
  const depths = new Map<string, number>()
  for (const { path, depth } of folders) {
    const normal = posix.join(path, '.')
    depths.set(normal, Math.max(depth, depths.get(normal) ?? 0))
  }
  return (path) => {
    let above = posix.join(path, '.')
    for (let distance = 0; ; distance += 1) {
      const depth = depths.get(above)
      if (depth !== undefined && depth >= distance) return true
      const next = posix.dirname(above)
      if (next === above) return false
      above = next
    }
  }
}
