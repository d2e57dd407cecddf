// What the component knows at one moment, for the page, the metrics and GET /fleet.
// This room: what is known of the fleet and remembered of a roll-out, and what follows from it. Pure.
// Begin here; then record.ts (what was granted), waves.ts (who is next), verdict.ts (how a node is).
// May touch: nothing.
import type { SeenPod } from '../../model/fleet-cluster.ts'
import type { FleetNode, RolloutRecord } from './record.ts'
import type { FleetState, NodeFacts } from './verdict.ts'

export type NodeLine = {
  readonly facts: NodeFacts
  readonly state: FleetState
  readonly pod: SeenPod
  readonly zone: string
  readonly error: string | undefined
}

export type FleetPicture = {
  readonly isLeading: boolean
  readonly isSynced: boolean
  readonly config: string | undefined
  readonly lines: readonly NodeLine[]
  readonly nodes: readonly FleetNode[]
  readonly record: RolloutRecord
  readonly halted: string | undefined
  /** Why something else is in force than what is declared for the component. */
  readonly configProblem?: string | undefined
}
