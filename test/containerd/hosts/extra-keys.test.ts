import t from 'tap'
import { parseContainerdVersion } from '../../../agent/containerd/config/schema-version.ts'
import { judgeExtra, wrongExtra } from '../../../agent/containerd/hosts/extra-keys.ts'
import type { Registry } from '../../../agent/model/desired-state.ts'
import { withReadableExtra } from '../../../agent/targets/containerd-hosts/extra.ts'

const at = (version: string) => parseContainerdVersion(version)

t.test('knows by version which keys of hosts.toml containerd reads', async (t) => {
  for (const version of ['2.1.0', 'v2.2.7', '2.4.0-beta.0', '2.9.0', '3.0.0'])
    t.same(judgeExtra('dial_timeout', at(version)), { kind: 'read' }, version)
  for (const version of ['1.5.2', '1.6.36', '1.7.99', '2.0.4'])
    t.same(judgeExtra('dial_timeout', at(version)), { kind: 'too-new', since: '2.1' }, version)
  for (const version of ['1.7.29', '2.4.1']) t.same(judgeExtra('referrers', at(version)), { kind: 'unknown' }, version)
  for (const version of ['2.5.0', '3.0.0', 'devel'])
    t.same(judgeExtra('referrers', at(version)), { kind: 'untold' }, version)
  t.same(judgeExtra('dial_timeout', undefined), { kind: 'untold' })
})

t.test('refuses what has a name of its own, and a value for which containerd ignores the whole file', async (t) => {
  for (const key of ['server', 'capabilities', 'ca', 'client', 'skip_verify', 'header', 'override_path', 'host'])
    t.match(wrongExtra(key, true), /has a name of its own/, key)
  for (const value of ['30s', '1h2m', '0', '1.5s']) t.equal(wrongExtra('dial_timeout', value), undefined, value)
  for (const value of ['30', 30, true, ['30s'], '30 s'])
    t.match(wrongExtra('dial_timeout', value), /must be a duration/)
  t.equal(wrongExtra('referrers', true), undefined)
})

t.test('writes nothing that containerd would pass over in silence', async (t) => {
  const registry: Registry = {
    host: 'harbor.lab',
    anchors: ['corp'],
    proof: { level: 'pull', everyMs: 60_000, leavesImage: false },
    source: 'trust.yaml:1:1',
    extra: { dial_timeout: '5s', typo: 'x' },
    mirrors: [
      { url: 'https://m.lab', anchors: [], capabilities: ['pull'], overridePath: false, extra: { dial_timeout: '6s' } },
    ],
  }
  const old = withReadableExtra(registry, at('1.7.29'))
  t.notOk('extra' in old.registry)
  t.notOk('extra' in (old.registry.mirrors?.[0] ?? { extra: 1 }))
  t.same(old.registry.anchors, ['corp'], 'what else is declared stays')
  t.match(old.problems, [
    { code: 'HOSTS_KEY_UNSUPPORTED', message: /^harbor\.lab: extra\.typo is a key that no known/ },
  ])
  t.match(
    old.warnings.map(({ message }) => message),
    [/extra\.dial_timeout is left out on this node: .* from 2\.1 on/, /mirror https:\/\/m\.lab: extra\.dial_timeout/],
  )
  const now = withReadableExtra(registry, at('2.2.7'))
  t.same(now.registry.extra, { dial_timeout: '5s' })
  t.same(now.registry.mirrors?.[0]?.extra, { dial_timeout: '6s' })
  t.same([now.problems.length, now.warnings.length], [1, 0])
  const next = withReadableExtra(registry, at('2.5.0'))
  t.same(next.registry.extra, registry.extra)
  t.match(next.warnings, [{ message: /extra\.typo is written, but/ }])
})
