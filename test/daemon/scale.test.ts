// What must not grow with registries times anchors, or with the square of either: counted, never timed.
import t from 'tap'
import { outdatedRoots } from '../../agent/daemon/advisories.ts'
import { waitMs } from '../../agent/daemon/due.ts'
import { NOTHING_REMEMBERED } from '../../agent/daemon/history.ts'
import { servedWatch } from '../../agent/daemon/served-chains.ts'
import { installedPlaces } from '../../agent/daemon/status.ts'
import { foldersToWatch } from '../../agent/daemon/watched-folders.ts'
import { type DesiredState, nothingDesired, type Registry, trustOf } from '../../agent/model/desired-state.ts'
import type { FindingCode } from '../../agent/model/finding.ts'
import type { Run } from '../../agent/model/run.ts'
import { EMPTY_STATE, type Ownership } from '../../agent/model/state.ts'
import type { Target } from '../../agent/model/target.ts'
import { systemClock } from '../../agent/node/clock.ts'
import { parseFacts, readCertificates } from '../../agent/telemetry/certificate-samples.ts'
import { growth } from '../../scripts/benchmark/growth.ts'
import { scaleAnchors } from '../../scripts/benchmark/scale-config.ts'

const REGISTRIES = 300
const ANCHORS = 100
const ABSENT = { kind: 'absent' } as const

/** Each look at the key is counted. */
function counted<T extends object, K extends keyof T>(item: T, key: K, count: () => void): T {
  const value = item[key]
  return Object.defineProperty({ ...item }, key, {
    enumerable: true,
    get() {
      count()
      return value
    },
  })
}

function desiredWith(registries: readonly Registry[], anchors: DesiredState['anchors']): DesiredState {
  return { ...nothingDesired(undefined), generation: 'g', registries, anchors }
}

const anchors = Array.from({ length: ANCHORS }, (_, index) => ({
  name: `anchor-${index}`,
  source: '',
  certificates: [],
  problems: [],
}))
const registries = Array.from(
  { length: REGISTRIES },
  (_, index): Registry => ({
    host: `r${index}.example.net`,
    anchors: [`anchor-${index % ANCHORS}`],
    proof: { level: 'manifest', everyMs: 600_000 },
    source: '',
  }),
)

t.test('asks each registry once for its anchors to tell where all anchors lie', async (t) => {
  let asked = 0
  const watched = registries.map((registry) => counted(registry, 'anchors', () => (asked += 1)))
  const owned = Object.fromEntries(
    registries.map(({ host }): [string, Ownership] => [
      `/etc/containerd/certs.d/${host}/ca.crt`,
      { kind: 'whole', target: 'containerd-hosts', subject: host, sha256: '', before: ABSENT },
    ]),
  )
  const places = installedPlaces(desiredWith(watched, anchors), { owned })
  t.equal(places.size, ANCHORS)
  t.strictSame(places.get('anchor-7'), [
    '/etc/containerd/certs.d/r107.example.net/ca.crt',
    '/etc/containerd/certs.d/r207.example.net/ca.crt',
    '/etc/containerd/certs.d/r7.example.net/ca.crt',
  ])
  t.equal(asked, REGISTRIES)
})

t.test('asks each anchor for its name twice at most, however many registries name one', async (t) => {
  let asked = 0
  const watched = anchors.map((anchor) => counted(anchor, 'name', () => (asked += 1)))
  const desired = desiredWith(registries, watched)
  for (const registry of registries) trustOf(registry, desired)
  t.ok(asked <= 2 * ANCHORS, `${asked} times`)
})

t.test('asks each registry for its host a few times to tell when the next proof is due', async (t) => {
  let asked = 0
  const watched = registries.map((registry) => counted(registry, 'host', () => (asked += 1)))
  waitMs({ ...NOTHING_REMEMBERED, desired: desiredWith(watched, anchors) }, 1, 0)
  t.ok(asked <= 4 * REGISTRIES, `${asked} times`)
})

t.test(
  'asks each watched folder for its path twice at most to tell which folders of owned files are covered',
  async (t) => {
    let asked = 0
    const host = (index: number) => `/etc/containerd/certs.d/r${index}.example.net`
    const known = Array.from({ length: REGISTRIES }, (_, index) =>
      counted({ path: host(index), depth: 0 }, 'path', () => (asked += 1)),
    )
    const whole = { kind: 'whole', target: 'containerd-hosts', subject: '', sha256: '', before: ABSENT } as const
    const owned = Object.fromEntries(
      Array.from({ length: REGISTRIES + 1 }, (_, index) => [`${host(index)}/ca.crt`, whole] as const),
    )
    const target = { isReadByContainerd: true, watches: () => known } as unknown as Target
    const facts = { configFile: '/etc/containerd/config.toml', layout: 'none', importFolders: [] } as const
    const folders = foldersToWatch({ facts, certsDirectory: undefined, owned, targets: [target] })
    t.ok(asked <= 2 * REGISTRIES, `${asked} times`)
    t.equal(folders.length, REGISTRIES + 1)
    t.same(folders.at(-1), { path: host(REGISTRIES), depth: 0 }, 'the one that is not covered')
  },
)

t.test('asks for the anchors of no registry whose last proof tells nothing of an unknown authority', async (t) => {
  let asked = 0
  const watched = registries.map((registry) => counted(registry, 'anchors', () => (asked += 1)))
  const facts = { startedAt: 1, systemRoots: { path: '/etc/ssl/certs', changedAt: 2, digest: '' } }
  const run = { facts, proofs: [], restarts: [], outcome: 'unchanged' } as unknown as Run
  const outdated = (code: FindingCode) => outdatedRoots(run, desiredWith(watched, anchors), EMPTY_STATE, () => code)
  outdated('trusted')
  t.equal(asked, 0)
  outdated('unknown-authority')
  t.ok(asked >= REGISTRIES, 'where each may be one, each is asked')
})

t.test('parses a certificate once, in however many files it lies', async (t) => {
  const pems = await scaleAnchors(3)
  let parsed = 0
  const files = registries.map(({ host }, index) => ({ path: `/certs.d/${host}/ca.crt`, pem: pems[index % 3] ?? '' }))
  const samples = readCertificates(files, (pem) => {
    parsed += 1
    return parseFacts(pem)
  })
  t.equal(parsed, 3)
  t.equal(samples.length, REGISTRIES)
  t.equal(samples[4]?.labels.filepath, '/certs.d/r4.example.net/ca.crt')
})

t.test('has eight looks at served chains under way, and no more', async (t) => {
  let [running, most] = [0, 0]
  const watch = servedWatch({
    clock: systemClock(),
    log: { debug() {}, info() {}, warn() {}, error() {} },
    tls: {
      fetch: async () => undefined,
      async inspect() {
        running += 1
        most = Math.max(most, running)
        await new Promise((resolve) => setImmediate(resolve))
        running -= 1
        return { address: undefined, chain: [], protocol: undefined, wantsClientCertificate: false }
      },
    },
  })
  await watch.refresh(registries)
  t.equal(most, 8)
})

t.test('tells growth over many runs from what is loaded once', async (t) => {
  const sampled = (held: (runs: number) => number) =>
    growth(
      Array.from({ length: 40 }, (_, index) => ({
        runs: index,
        heapMiB: held(index),
        anonMiB: 60,
        openFiles: 25,
        handles: 12,
        stateFiles: 10,
      })),
    )
  t.same(
    sampled((runs) => 30 + (runs % 3)),
    [],
  )
  t.same(
    sampled((runs) => (runs < 8 ? 20 : 30)),
    [],
    'loaded once',
  )
  t.match(
    sampled((runs) => 30 + runs / 8),
    [/^JavaScript heap grew from 31\.8 to 34\.3$/],
  )
  t.throws(() => growth([]), /fewer than four samples/)
})
