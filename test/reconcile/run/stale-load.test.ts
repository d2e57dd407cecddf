// Which store is newer than the daemon, and what is said of it; that the restart helps is in
// test/e2e/advisories.test.ts.
import t from 'tap'
import type { ContainerdFacts } from '../../../agent/model/observed-state.ts'
import { isLoadUncertain, notLoaded, rootsAreNewer } from '../../../agent/reconcile/run/stale-load.ts'

const NOW = Date.parse('2026-11-21T10:00:00Z')

function facts(startedAt: number | undefined, changedAt: number, loadedConfigPath?: string): ContainerdFacts {
  const status = loadedConfigPath === undefined ? {} : { loadedConfigPath }
  return { startedAt, status, configFile: '/c.toml', systemRoots: { path: '/b.crt', changedAt } } as ContainerdFacts
}

t.test('the store is newer when it changed after the daemon came up', async (t) => {
  t.same(
    [rootsAreNewer(facts(NOW, NOW + 1_000)), rootsAreNewer(facts(NOW, NOW - 1)), rootsAreNewer(facts(undefined, NOW))],
    [true, false, false],
  )
})

t.test('only what may not be loaded is suspected', async (t) => {
  const [newer, older] = [NOW + 1_000, NOW - 1_000]
  t.match(notLoaded(facts(NOW, newer, ''), false, ['h']), 'not loaded /b.crt as it is now: it does not trust h,')
  t.match(notLoaded(facts(NOW, older), false, ['h']), 'not loaded /c.toml as it is now: it')
  t.match(notLoaded(facts(NOW, newer), true, ['h']), 'not loaded /c.toml or /b.crt as it is now: it')
  t.equal(isLoadUncertain(facts(NOW, older, ''), false), false)
})
