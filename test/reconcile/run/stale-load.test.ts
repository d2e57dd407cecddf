// Which store is newer than the daemon, and what is said of it; that the restart helps is in
// test/e2e/advisories.test.ts.
import t from 'tap'
import { type FindingCode, finding } from '../../../agent/model/finding.ts'
import type { ContainerdFacts } from '../../../agent/model/observed-state.ts'
import {
  ignoredHosts,
  isLoadUncertain,
  notLoaded,
  rootsAreNewer,
  unreadHosts,
  whileUnread,
} from '../../../agent/reconcile/run/judgements/stale-load.ts'

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

t.test('a registry that only a fresh start trusts lacks the restart, and the others what they lacked', async (t) => {
  const proof = (host: string, code: FindingCode) => ({
    host,
    reference: `${host}/probe:1`,
    finding: finding(code, `${host}: ${code}`, { text: `containerd says ${code}` }),
    durationMs: 1,
    level: 'pull' as const,
    by: 'live' as const,
    at: new Date(NOW).toISOString(),
  })
  const proofs = [proof('unread', 'unknown-authority'), proof('wrong', 'unknown-authority'), proof('away', 'refused')]
  const passed = {
    verdict: 'passed' as const,
    proofs: [proof('unread', 'trusted'), proof('wrong', 'unknown-authority'), proof('away', 'trusted')],
    durationMs: 1,
  }
  const waits = { due: 'config_path is not set', waitsFor: 'no way to systemd' }
  const told = whileUnread(proofs, passed, waits)
  t.match(told, [
    { finding: { code: 'hosts-file-ignored', message: /of unread .*config_path is not set.*no way to systemd/ } },
    { finding: { code: 'unknown-authority' } },
    { finding: { code: 'refused' } },
  ])
  t.same(told[0]?.finding.evidence, proofs[0]?.finding.evidence, "containerd's own words are kept")
  t.same([ignoredHosts(told, passed), unreadHosts(told, passed)], [[], ['unread']])
  t.same(whileUnread(proofs, { verdict: 'not-rehearsed', reason: 'no binary' }, waits), proofs, 'unknown stays unknown')
})
