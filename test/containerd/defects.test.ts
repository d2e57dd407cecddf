import t from 'tap'
import { brokenSandboxPin, DEFECTS, defectsOf } from '../../agent/containerd/defects.ts'

const ids = (version: string) => defectsOf(version).map(({ id }) => id)

t.test('a defect is named from its first version up to the one that mends it, in each line', async (t) => {
  const has: readonly (readonly [id: string, yes: readonly string[], no: readonly string[]])[] = [
    ['hosts-toml-without-host', ['1.6.20~ds1', '1.6.39', '1.7.24', '1.7.31'], ['1.7.32', '2.0.0', 'v2.1.9', '2.3.4']],
    ['hosts-toml-headers-not-at-token-service', ['1.6.20', '1.7.34', '2.0.9'], ['2.1.0', '2.2.7']],
    ['config-path-list', ['2.1.0', 'v2.1.9', '2.2.7', '2.3.4', '2.4.0-beta.0'], ['1.6.20', '1.7.34', '2.0.11']],
    ['mirrors-beside-default-config-path', ['2.2.0', '2.2.1'], ['2.1.9', '2.2.2', '2.2.7', '2.3.0']],
    ['sandbox-image-tag-and-digest', ['2.3.0', 'v2.3.3'], ['2.2.7', '2.3.4', '2.4.0-beta.0']],
  ]
  t.strictSame(
    has.map(([id]) => id),
    DEFECTS.map(({ id }) => id),
    'every row of the table is asked for',
  )
  for (const [id, yes, no] of has) {
    for (const version of yes) t.ok(ids(version).includes(id), `${version} has ${id}`)
    for (const version of no) t.notOk(ids(version).includes(id), `${version} has no ${id}`)
  }
})

t.test('of a version without a number nothing is known', async (t) => {
  t.strictSame(ids('dev'), [])
})

t.test('every row has an address where it can be read', async (t) => {
  for (const { id, source, effect, remedy } of DEFECTS) {
    t.match(source, /^https:\/\/github\.com\/containerd\/containerd\/(?:pull|issues)\/\d+$/, id)
    t.ok(effect.length > 30 && remedy.endsWith('.'), id)
  }
})

t.test('a sandbox image by tag and digest is refused where containerd would not find it', async (t) => {
  const both = `registry.example.net:5000/pause:3.10@sha256:${'0'.repeat(64)}`
  t.match(brokenSandboxPin(both, '2.3.1'), /2\.3\.1 .* no Pod starts/)
  t.equal(brokenSandboxPin(both, '2.3.4'), undefined)
  t.equal(brokenSandboxPin(`registry.example.net:5000/pause@sha256:${'0'.repeat(64)}`, '2.3.1'), undefined)
  t.equal(brokenSandboxPin('registry.example.net:5000/pause:3.10', '2.3.1'), undefined)
})
