// Which drift of a run is news. Drift that stands (audit mode, `drift.heal: false`, a fight that the agent has given up)
// is seen again at every look, and counts once.
import type { Run } from '../model/run.ts'
import type { DriftStatus } from '../model/status.ts'

export type Found = Pick<DriftStatus, 'target' | 'path' | 'kind'>

/**
 * One for the life of the process. `standing`: what a run left as it found it; `healed`: what it put right. Returns
 * what was not known after the run before.
 */
export function detectedDrift(): (
  run: Pick<Run, 'planned'>,
  standing: readonly Found[],
  healed: readonly Found[],
) => readonly Found[] {
  let known: ReadonlySet<string> = new Set()
  return (run, standing, healed) => {
    // A run that did not come to a plan has seen nothing.
    if (run.planned === undefined) return []
    const before = known
    known = new Set(standing.map(keyOf))
    return [...standing, ...healed].filter((one) => !before.has(keyOf(one)))
  }
}

function keyOf({ path, kind }: Found): string {
  return `${kind} ${path}`
}
