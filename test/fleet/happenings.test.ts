// What becomes an Event on a Node.
import t from 'tap'
import { happenings, type Looked } from '../../agent/fleet/steps/happenings.ts'
import type { NodeState } from '../../agent/model/status.ts'
import type { NodeSummary } from '../../agent/model/summary.ts'
import { configNumber, Machine } from '../fixtures/fleet/world.ts'

type Look = { readonly state: NodeState; readonly at?: string; readonly result?: string; readonly generation?: string }

function summary({ state, at, result = 'ok', generation = 'abc' }: Look): NodeSummary {
  const machine = new Machine(1)
  machine.readConfig(configNumber(1))
  const base = machine.summary(1)
  return { ...base, state, generation, restart: { ...base.restart, last: at === undefined ? null : { at, result } } }
}

/** Reasons of the Events of each look. */
function tell(looks: readonly (Look | undefined)[]): readonly (readonly string[])[] {
  let known: ReadonlyMap<string, Looked> = new Map()
  return looks.map((look) => {
    const seen = happenings([{ node: 'n1', uid: 'u1', summary: look && summary(look) }], known)
    known = seen.known
    return seen.events.map(({ reason }) => reason)
  })
}

t.test('a restart and a rollback are told once each, whatever is seen between', async (t) => {
  const told = tell([
    { state: 'restart-pending' },
    undefined,
    { state: 'applying' },
    { state: 'converged', at: '1' },
    { state: 'converged', at: '1' },
    { state: 'rolled-back', at: '2', result: 'rolled-back' },
    { state: 'applying', at: '2', result: 'rolled-back' },
    { state: 'rolled-back', at: '2', result: 'rolled-back' },
    { state: 'rolled-back', at: '2', result: 'rolled-back', generation: 'def' },
    { state: 'rollback-failed', at: '2', generation: 'ghi' },
  ])
  t.same(told, [[], [], [], ['ContainerdRestarted'], [], ['RolledBack'], [], [], ['RolledBack'], ['RollbackFailed']])
})

t.test('a leader that has just begun tells nothing of what it finds', async (t) => {
  t.same(
    tell([
      { state: 'rolled-back', at: '1' },
      { state: 'rolled-back', at: '1' },
    ]),
    [[], []],
  )
})
