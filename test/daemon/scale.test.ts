// What must not grow with registries times anchors, or with the square of either: counted, never timed.
import t from 'tap'
import { outdatedRoots } from '../../agent/daemon/advisories.ts'
import { waitMs } from '../../agent/daemon/due.ts'
import { NOTHING_REMEMBERED } from '../../agent/daemon/history.ts'
import { installedPlaces } from '../../agent/daemon/status.ts'
import { keptCertificates } from '../../agent/daemon/watch/kept-certificates.ts'
import { servedWatch } from '../../agent/daemon/watch/served-chains.ts'
import { foldersToWatch, watchedFolders } from '../../agent/daemon/watch/watched-folders.ts'
import { type DesiredState, nothingDesired, type Registry, trustOf } from '../../agent/model/desired-state.ts'
import type { FindingCode } from '../../agent/model/finding.ts'
import type { Change } from '../../agent/model/plan.ts'
import type { CriClient, NodeFiles, TlsLookOptions, TlsProbe } from '../../agent/model/ports.ts'
import type { Run } from '../../agent/model/run.ts'
import type { RehearsePorts } from '../../agent/model/run-ports.ts'
import { EMPTY_STATE, type Ownership } from '../../agent/model/state.ts'
import type { Target } from '../../agent/model/target.ts'
import { systemClock } from '../../agent/node/clock.ts'
import { nodeFiles } from '../../agent/node/files/files.ts'
import { rememberedFiles } from '../../agent/node/files/remembered-files.ts'
import { proveDeclared } from '../../agent/reconcile/prove/prove.ts'
import { proveRegistries } from '../../agent/reconcile/prove/pull.ts'
import { rehearse } from '../../agent/reconcile/rehearse/rehearse.ts'
import { stageHosts } from '../../agent/targets/containerd/staged.ts'
import type { ObservedHosts } from '../../agent/targets/containerd-hosts/observe.ts'
import { planHosts } from '../../agent/targets/containerd-hosts/plan.ts'
import { withoutUnmounted } from '../../agent/targets/guards/unmounted.ts'
import { parseFacts, readCertificates } from '../../agent/telemetry/certificate-samples.ts'
import { growth } from '../../scripts/benchmark/growth.ts'
import { scaleAnchors } from '../../scripts/benchmark/scale-config.ts'

const REGISTRIES = 300
const ANCHORS = 100
const HOSTS_TOML = { name: 'hosts.toml', content: { kind: 'file', bytes: Buffer.from('') } }
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

t.test('makes the list of watched folders and reads certificates only when what the agent owns is other', async (t) => {
  let asked = 0
  const owned = Object.fromEntries(
    registries.map(({ host }): [string, Ownership] => [
      `/etc/containerd/certs.d/${host}/ca.crt`,
      counted(
        { kind: 'whole', target: 'containerd-hosts', subject: host, sha256: host, before: ABSENT },
        'kind',
        () => (asked += 1),
      ),
    ]),
  )
  const target = {
    isReadByContainerd: true,
    watches() {
      asked += 1
      return []
    },
  } as unknown as Target
  const folders = watchedFolders([target])
  const kept = keptCertificates({ read: async () => ABSENT })
  const facts = { configFile: '/etc/containerd/config.toml', layout: 'none', importFolders: ['/etc/a'] }
  const look = async (more: Partial<typeof facts> = {}, now = owned) => {
    asked = 0
    await kept(now)
    return folders({ facts: { ...facts, importFolders: ['/etc/a'], ...more }, certsDirectory: undefined, owned: now })
  }
  const first = await look()
  t.ok(asked > REGISTRIES)
  t.equal(await look(), first, 'the very object')
  t.equal(asked, 0)
  const more = await look({ importFolders: ['/etc/a', '/etc/b'] })
  t.ok(more.some(({ path }) => path === '/etc/b'))
  t.not(await look({}, { ...owned }), first)
  t.ok(asked > REGISTRIES)
})

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

t.test('asks each change for its path a few times to lay out the host directories of a rehearsal', async (t) => {
  let asked = 0
  const certsDirectory = '/etc/containerd/certs.d'
  const desired = desiredWith(registries, anchors)
  const changes = registries.map(({ host }) => {
    const change = { path: `${certsDirectory}/${host}`, after: { kind: 'tree', mode: 0o755, files: [HOSTS_TOML] } }
    return counted(change, 'path', () => (asked += 1)) as unknown as Change
  })
  const observed = { certsDirectory, names: new Set(), folders: new Map() } as unknown as ObservedHosts
  const staged = stageHosts(desired, [], observed, changes)
  t.equal(staged.length, REGISTRIES)
  t.equal(staged[7]?.path, 'r7.example.net/hosts.toml')
  t.ok(asked <= 3 * REGISTRIES, `${asked} times`)
})

t.test('asks once for each folder whether it is mounted, however many changes are in it', async (t) => {
  const asked: string[] = []
  const changes = registries.map(({ host }) => ({ folder: '/etc/docker/certs.d', path: `/${host}` }) as Change)
  const seen = (isSeen: (path: string) => boolean) =>
    withoutUnmounted(changes, {
      isSeen(path: string) {
        asked.push(path)
        return isSeen(path)
      },
    } as NodeFiles)
  t.equal(seen(() => true).kept.length, REGISTRIES)
  t.same(asked, ['/etc/docker/certs.d'])
  const { kept, problems } = seen((path) => path === '/r7.example.net')
  t.same([kept.length, problems.length], [1, 1])
})

t.test(
  'asks each owned path for its registry a few times, however many registries wait for their anchors',
  async (t) => {
    let asked = 0
    const certsDirectory = '/etc/containerd/certs.d'
    const whole = (subject: string) =>
      ({ kind: 'whole', target: 'containerd-hosts', subject, sha256: '', before: ABSENT }) as const
    const owned = Object.fromEntries(
      registries.map(({ host }) => [
        `${certsDirectory}/${host}/ca.crt`,
        counted(whole(host), 'subject', () => (asked += 1)),
      ]),
    )
    const observed = {
      certsDirectory,
      names: new Set(),
      folders: new Map(),
      certsDirectoryState: ABSENT,
      existingParent: '/etc',
    } as unknown as ObservedHosts
    // The anchors have no certificate that can be used now: what they put on the node stays.
    const input = { desired: desiredWith(registries, anchors), owned, unverified: new Set<string>(), migrateAll: false }
    const { changes } = await planHosts(input, observed)
    t.same(changes, [])
    t.ok(asked >= REGISTRIES && asked <= 3 * REGISTRIES, `${asked} times`)
  },
)

t.test('goes through the images of the node once, however many registries are proved', async (t) => {
  let asked = 0
  const images = Array.from({ length: 500 }, (_, index) => `r${index}.example.net/app@sha256:${'0'.repeat(64)}`)
  const list = new Proxy(images, {
    get(target, key) {
      if (typeof key === 'string' && /^\d+$/.test(key)) asked += 1
      return Reflect.get(target, key)
    },
  })
  const pulled: string[] = []
  const cri = {
    imageDigests: async () => list,
    async pullImage(reference: string) {
      pulled.push(reference)
      return { ok: true, imageRef: reference }
    },
  } as unknown as CriClient
  await proveRegistries(registries, cri, { clock: systemClock(), timeoutMs: 1_000 })
  t.equal(pulled.length, REGISTRIES)
  t.ok(pulled.includes(images[7] ?? ''), 'an image that is there is asked for')
  t.ok(asked <= 2 * images.length, `${asked} times`)
})

t.test('asks a private copy of containerd about 250 registries, and another one about the next', async (t) => {
  const asked: number[] = []
  let [running, ended] = [0, 0]
  const cri = {
    version: async () => ({ runtimeVersion: '2.1.9' }),
    async pullImage() {
      asked[asked.length - 1] = (asked.at(-1) ?? 0) + 1
      return { ok: false, status: 'NOT_FOUND', text: 'not found' }
    },
  } as unknown as CriClient
  const runner = {
    scratch: async () => ({ folder: '/scratch', write: async () => undefined, dispose: async () => undefined }),
    async start() {
      t.equal(running++, 0, 'one at a time')
      asked.push(0)
      const stop = async () => {
        running -= 1
        ended += 1
      }
      return { started: true, cri, stop }
    },
  } as unknown as RehearsePorts['runner']
  const files = { hostPath: (path: string) => path } as unknown as NodeFiles
  const facts = { version: '2.1.9', configFile: '/etc/containerd/config.toml', imports: [], unloadableImports: [] }
  const planned = {
    plan: { changes: [], restart: { required: true } },
    candidateConfig: Buffer.from('version = 3\n'),
    stagedHosts: [],
  }
  const rehearsal = await rehearse(
    desiredWith(registries, anchors),
    facts as unknown as Parameters<typeof rehearse>[1],
    planned as unknown as Parameters<typeof rehearse>[2],
    { files, runner, clock: systemClock(), targets: [] },
    undefined,
    { always: true, binary: '/usr/bin/containerd' },
  )
  t.equal(rehearsal.verdict, 'passed', JSON.stringify(rehearsal).slice(0, 300))
  t.strictSame(asked, [250, 50])
  t.equal(ended, 2)
  t.equal(rehearsal.verdict === 'passed' && rehearsal.proofs.length, REGISTRIES)
})

t.test('looks at a registry that was pulled from while containerd pulls from the next ones', async (t) => {
  const events: string[] = []
  const cri = {
    imageDigests: async () => [],
    async pullImage(reference: string) {
      await new Promise((resolve) => setImmediate(resolve))
      events.push('pull')
      const text = `failed to pull and unpack image "${reference}": failed to resolve reference "${reference}": ${reference}: not found`
      return { ok: false, status: 'NOT_FOUND', text }
    },
  } as unknown as CriClient
  const tls = {
    async inspect(_target: object, { isAnswerOnly }: TlsLookOptions) {
      events.push(isAnswerOnly ? 'look' : 'look at its chain, which nobody asks for')
      return { address: undefined, chain: [], protocol: undefined, wantsClientCertificate: false }
    },
  } as unknown as TlsProbe
  const absent = async () => ({ kind: 'absent' }) as const
  const files = { read: absent, readFollowing: absent, list: async () => [] } as Partial<NodeFiles> as NodeFiles
  const ports = { tls, clock: systemClock(), files }
  const proofs = await proveDeclared(registries, cri, ports, desiredWith(registries, anchors))
  t.same(
    proofs.map(({ host, finding }) => `${host} ${finding.code}`),
    registries.map(({ host }) => `${host} trusted`),
  )
  t.equal(events.filter((one) => one === 'look').length, REGISTRIES, 'each is looked at once')
  t.ok(events.indexOf('look') < 20, 'the first look does not wait for the last pull')
})

t.test('lets others have their turn in the middle of thousands of answers that are remembered', async (t) => {
  const root = t.testdir({ etc: { file: 'text' } })
  const files = rememberedFiles(nodeFiles({ root }), { root, now: () => Date.now() + 1_000 })
  let turns = 0
  const others = setInterval(() => (turns += 1), 1)
  for (let look = 0; look < 20_000; look += 1) await files.read('/etc/file')
  clearInterval(others)
  t.ok(turns > 0, `${turns} turns`)
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
