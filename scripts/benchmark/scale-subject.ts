// One size of configuration on a scratch root, without network and without containerd: what the agent itself costs.
// Runs in a process of its own, so that memory is this size's alone, and prints one line of JSON.
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { guardedLoad } from '../../agent/config/guarded-load.ts'
import { startDaemon } from '../../agent/daemon/daemon.ts'
import type { TlsSight } from '../../agent/model/ports.ts'
import { inputFiles } from '../../agent/node/files/input-files.ts'
import { rememberedFiles } from '../../agent/node/files/remembered-files.ts'
import { readingThread } from '../../agent/node/threads/reading-thread.ts'
import { nodeWatcher, watcher } from '../../agent/node/watch/watch.ts'
import { applyRun, planRun } from '../../agent/reconcile/run/entry.ts'
import { createMetrics } from '../../agent/telemetry/metrics.ts'
import { CERTS_D, CONFIG, SOCKET, scratchPorts } from '../../test/fixtures/scratch/scratch-runtime.ts'
import { scaleAnchors, scaleTrust } from './scale-config.ts'

export type ScaleCost = {
  readonly registries: number
  readonly anchors: number
  /** Milliseconds of CPU, user and system, of all threads. */
  readonly plan: number
  readonly apply: number
  readonly noOp: number
  readonly look: number
  readonly rssMiB: number
  readonly anonMiB: number
}

const { values } = parseArgs({
  options: { registries: { type: 'string', default: '10' }, anchors: { type: 'string', default: '1' } },
})
const NO_NETWORK: TlsSight = {
  address: undefined,
  chain: [],
  protocol: undefined,
  wantsClientCertificate: false,
  failure: { kind: 'dns', text: 'there is no network' },
}
const [registries, anchors] = [Number(values.registries), Number(values.anchors)]
const root = await mkdtemp(join(tmpdir(), 'registry-trust-scale-'))
const config = join(root, '..', `${root.split('/').at(-1)}.config`)
try {
  await prepare()
  console.log(JSON.stringify(await measure()))
} finally {
  await rm(root, { recursive: true, force: true })
  await rm(config, { recursive: true, force: true })
}
process.exit(0)

async function prepare(): Promise<void> {
  for (const folder of ['/etc/containerd', '/etc/ssl/certs', '/usr/local/share/ca-certificates', CERTS_D])
    await mkdir(join(root, folder), { recursive: true })
  const text = `version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "${CERTS_D}"\n`
  await writeFile(join(root, CONFIG), text)
  await writeFile(`${root}.loaded`, text)
  await writeFile(join(root, '/etc/ssl/certs/ca-certificates.crt'), '')
  await mkdir(join(root, '/run/containerd'), { recursive: true })
  await writeFile(join(root, SOCKET), '')
  await mkdir(config)
  await writeFile(join(config, 'trust.yaml'), JSON.stringify(scaleTrust(registries, anchors)))
  const pems = await scaleAnchors(anchors)
  for (const [index, pem] of pems.entries()) await writeFile(join(config, `ca-${index}.pem`), pem)
}

async function measure(): Promise<ScaleCost> {
  const scratch = scratchPorts(root)
  const ports = { ...scratch, tls: { ...scratch.tls, look: async () => NO_NETWORK } }
  const load = guardedLoad({
    paths: [config],
    files: inputFiles(),
    clock: ports.clock,
    thread: readingThread({ program: join(import.meta.dirname, '../../agent/main-reader.ts') }),
  })
  const loaded = await load()
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.problems.slice(0, 3)))
  const options = { address: SOCKET, consentUnrehearsed: false, byHand: true }
  const plan = await cpuOf(async () => void (await planRun(loaded.desired, options, ports)))
  const apply = await cpuOf(async () => {
    const run = await applyRun(loaded.desired, options, ports)
    if (run.outcome !== 'applied') throw new Error(`${run.outcome}: ${run.error?.message}`)
  })
  const noOp = await cpuOf(async () => {
    const run = await applyRun(loaded.desired, options, ports)
    if (run.outcome !== 'unchanged') throw new Error(`not unchanged: ${run.outcome}`)
  })
  const metrics = createMetrics({ version: 'scale' })
  let runs = 0
  const { loop, stop } = await startDaemon({
    identity: { node: 'scale', version: 'scale' },
    address: SOCKET,
    consentUnrehearsed: false,
    config: [config],
    loadConfig: load,
    ports,
    remembered: rememberedFiles(ports.files, { root }),
    inputs: inputFiles(),
    watcher: watcher(),
    nodeWatcher: nodeWatcher(),
    mounts: () => [],
    pulse: () => ({ close() {} }),
    metrics,
    beside: { watched: [], told() {}, ran: async () => void runs++, changed: async (takeUp) => takeUp() },
  })
  while (runs < 1) await sleep(50)
  // The looks that follow when the watches stand.
  await atRest(() => runs)
  const looks = 3
  const look = await cpuOf(async () => {
    for (let index = 0; index < looks; index++) {
      const before = runs
      loop.poke()
      while (runs === before) await sleep(5)
      await sleep(250)
    }
  })
  const { rss } = process.memoryUsage()
  const anon = Number(/^RssAnon:\s*(\d+)/m.exec(await readFile('/proc/self/status', 'utf8'))?.[1])
  await stop()
  return { registries, anchors, plan, apply, noOp, look: look / looks, rssMiB: rss / 2 ** 20, anonMiB: anon / 1024 }
}

async function atRest(count: () => number): Promise<void> {
  for (let before = -1; before !== count(); ) {
    before = count()
    await sleep(1_500)
  }
}

async function cpuOf(work: () => Promise<void>): Promise<number> {
  const before = process.cpuUsage()
  await work()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000
}
