// In a Pod a folder of the node that is not mounted looks like one that does not exist, and what is ours there like
// something that is gone: it would be forgotten and stay on the node for ever. Changes there are left out, and
// reported.
import { type Problem, problem } from '../../model/errors.ts'
import type { Change } from '../../model/plan.ts'
import type { NodeFiles } from '../../model/ports.ts'

export function withoutUnmounted(
  changes: readonly Change[],
  files: NodeFiles,
): { readonly kept: readonly Change[]; readonly problems: readonly Problem[] } {
  // Each answer reads the table of mounts, and many changes share a folder.
  const seen = new Map<string, boolean>()
  const isSeen = (path: string) => {
    const isKnown = seen.get(path) ?? files.isSeen(path)
    seen.set(path, isKnown)
    return isKnown
  }
  const left = changes.filter(({ folder, path }) => !isSeen(folder) && !isSeen(path))
  const problems = [...Map.groupBy(left, ({ folder }) => folder)].map(([folder, all]) => {
    const paths = all.map(({ path }) => path).join(', ')
    const text = `${folder} of the node is not mounted into this Pod, so these paths were left unchanged: ${paths}`
    return problem('TARGET_NOT_MOUNTED', text)
  })
  const isLeft = new Set(left)
  return { kept: changes.filter((change) => !isLeft.has(change)), problems }
}
