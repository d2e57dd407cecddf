import { readFileSync } from 'node:fs'
import t from 'tap'
import { systemClock } from '../../agent/node/clock.ts'

t.test(
  'monotonic time counts from the boot of the node, so that two processes of it can compare deadlines',
  async (t) => {
    const clock = systemClock()
    const uptimeMs = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1000
    // /proc/uptime counts what the machine was suspended as well, and has hundredths of a second alone.
    t.ok(clock.monotonic() <= uptimeMs + 50, 'not more than since the boot')
    t.ok(clock.monotonic() > 0)
  },
)

t.test('monotonic time passes while the clock sleeps, whatever wall time does meanwhile', async (t) => {
  const clock = systemClock()
  const realNow = Date.now
  t.teardown(() => {
    Date.now = realNow
  })
  const started = clock.monotonic()
  Date.now = () => realNow() - 365 * 86_400_000
  await clock.sleep(20)
  const passedMs = clock.monotonic() - started
  t.ok(passedMs >= 19 && passedMs < 2_000, `${passedMs} ms`)
  t.ok(clock.now() < realNow() - 364 * 86_400_000, 'wall time is what the node says')
})
