// In a Pod a folder of the node that is not mounted looks like one that does not exist, and what is ours there like
// something that is gone: it would be forgotten and stay on the node for ever. Changes there are left out, and told.
import { type Problem, problem } from '../../model/errors.ts'
import type { Change } from '../../model/plan.ts'
import type { NodeFiles } from '../../model/ports.ts'

export function withoutUnmounted(
  changes: readonly Change[],
  files: NodeFiles,
): { readonly kept: readonly Change[]; readonly problems: readonly Problem[] } {
  const isUnseen = ({ folder, path }: Change) => !files.isSeen(folder) && !files.isSeen(path)
  const left = changes.filter(isUnseen)
  const unseen = new Set(left.map(({ folder }) => folder))
  const problems = [...unseen].map((folder) => {
    const paths = left.filter((change) => change.folder === folder).map(({ path }) => path)
    const text = `${folder} of the node is not mounted into this Pod: nothing is done about ${paths.join(', ')}`
    return problem('TARGET_NOT_MOUNTED', text)
  })
  return { kept: changes.filter((change) => !left.includes(change)), problems }
}
