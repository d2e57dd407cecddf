// A folder of host directories that is itself a link leads the agent to write somewhere else than it says: its changes
// are left out. The system store is not meant: some distributions make /etc/ssl/certs a link themselves.
import { type Problem, problem } from '../../model/errors.ts'
import type { Change } from '../../model/plan.ts'
import type { NodeFiles } from '../../model/ports.ts'

export async function withoutLinkedFolders(
  changes: readonly Change[],
  servesHosts: ReadonlySet<Change['target']>,
  files: NodeFiles,
): Promise<{ readonly kept: readonly Change[]; readonly problems: readonly Problem[] }> {
  const folders = new Set(changes.filter(({ target }) => servesHosts.has(target)).map(({ folder }) => folder))
  const links = new Map<string, string>()
  for (const folder of folders) {
    const state = await files.read(folder)
    if (state.kind === 'link') links.set(folder, state.to)
  }
  const kept = changes.filter(({ target, folder }) => !servesHosts.has(target) || !links.has(folder))
  const problems = [...links].map(([folder, to]) => {
    const text = `${folder} is a link to ${to}, and nothing is written through it; set containerd's config_path to the real folder`
    return problem('FILE_OUTSIDE_TARGET', text)
  })
  return { kept, problems }
}
