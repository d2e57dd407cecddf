// A target that is not enabled explicitly is left out where its files cannot be written. But what the agent put there
// under another profile may not stay unnoticed: an anchor that is withdrawn would be trusted there for ever.
import { problem } from '../../model/errors.ts'
import type { AgentState } from '../../model/state.ts'
import type { TargetPlan } from '../../model/target.ts'
import { NOTHING_TO_DO } from '../files/files.ts'

/** Of a plan that cannot be carried out: which paths of the agent's would have to change. Nothing else of it counts. */
export function outOfReach({ changes }: TargetPlan, owned: AgentState['owned'], where: string): TargetPlan {
  const paths = changes.flatMap(({ path, forgets }) => [path, ...forgets]).filter((path) => owned[path] !== undefined)
  if (paths.length === 0) return NOTHING_TO_DO
  const text = `${where} cannot be written, but what the agent put there has to change: ${[...new Set(paths)].join(', ')}`
  return { changes: [], problems: [problem('TARGET_READ_ONLY', text)] }
}
