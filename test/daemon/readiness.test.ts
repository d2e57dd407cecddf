// Whether the daemon is alive: a run that hangs and a loop that does not wake are told, each after ten minutes.
import t from 'tap'
import { livenessOf } from '../../agent/daemon/readiness.ts'

const at = (startedAt: number | undefined, dueAt: number | undefined) =>
  livenessOf({ startedAt, dueAt }, undefined, 1e6)

t.test('a run may take ten minutes', async (t) => {
  t.equal(at(undefined, undefined).ready, true)
  t.equal(at(400_000, undefined).ready, true)
  t.match(at(399_000, undefined), { ready: false, checks: [{ message: 'a run has been under way for 601 s' }, {}] })
})

t.test('a loop that sleeps is alive, and not where it should have woken long ago', async (t) => {
  t.equal(at(undefined, 2e6).ready, true)
  t.equal(at(undefined, 400_000).ready, true)
  t.match(at(undefined, 399_000), { ready: false, checks: [{ message: 'a look was due 601 s ago' }, {}] })
})
