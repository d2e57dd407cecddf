// What is simulated. Times are milliseconds; where they come from stands in docs/fleet.md.

export type Scenario = {
  readonly title: string
  readonly nodes: number
  /** The change needs a restart of containerd on each node (restart.permit: fleet). */
  readonly needsRestart: boolean
  /** Part of the nodes that take five times as long for everything. */
  readonly slow?: number
  /** Part of the nodes whose agent does not answer, and which take nothing up. */
  readonly dead?: number
  /** The component dies this often, and another one takes over when the Lease is over. */
  readonly crashes?: number
  /** containerd refuses the generation, and the agent rolls back. */
  readonly isBad?: boolean
  /** The registry does not answer for so long from the change on. */
  readonly registryDownMs?: number
  readonly untilMs: number
}

const MINUTE = 60_000

/** @param size nodes of the large fleets; 5,000 in docs/fleet.md */
export function scenarios(size: number): readonly Scenario[] {
  const rotation = { needsRestart: false, untilMs: 20 * MINUTE }
  const restarts = { needsRestart: true, untilMs: 240 * MINUTE }
  return [
    { title: 'rotation, 3 nodes', nodes: 3, ...rotation },
    { title: 'rotation', nodes: size, ...rotation },
    { title: 'rotation, 1 % slow', nodes: size, slow: 0.01, ...rotation },
    { title: 'rotation, 1 % dead', nodes: size, dead: 0.01, ...rotation },
    { title: 'rotation, the component dies twice', nodes: size, crashes: 2, ...rotation },
    { title: 'rotation, registry down for 5 min', nodes: size, registryDownMs: 5 * MINUTE, ...rotation },
    { title: 'restarts in waves', nodes: size, ...restarts },
    { title: 'restarts, 1 % slow, the component dies twice', nodes: size, slow: 0.01, crashes: 2, ...restarts },
    { title: 'restarts, bad generation', nodes: size, isBad: true, ...restarts, untilMs: 20 * MINUTE },
    { title: 'rotation, three times as large', nodes: 3 * size, ...rotation },
  ]
}
