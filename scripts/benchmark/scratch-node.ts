// The agent's real code on a scratch root, without network and without containerd, and its daemon there.
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { guardedLoad } from '../../agent/config/guarded-load.ts'
import { type LoadResult, loadDesiredState } from '../../agent/config/load.ts'
import { type Daemon, startDaemon } from '../../agent/daemon/daemon.ts'
import type { Clock, TlsProbe, TlsSight } from '../../agent/model/ports.ts'
import type { Run } from '../../agent/model/run.ts'
import type { RunPorts } from '../../agent/model/run-ports.ts'
import { inputFiles } from '../../agent/node/files/input-files.ts'
import { rememberedFiles } from '../../agent/node/files/remembered-files.ts'
import { readingThread } from '../../agent/node/threads/reading-thread.ts'
import { nodeWatcher, watcher } from '../../agent/node/watch/watch.ts'
import { createMetrics } from '../../agent/telemetry/metrics.ts'
import { CERTS_D, CONFIG, SOCKET, scratchPorts } from '../../test/fixtures/scratch/scratch-runtime.ts'
import { scaleAnchors, scaleTrust } from './scale-config.ts'

/** As the image starts it, where scripts/bench has built it: from the sources each start takes half a second of CPU. */
const BUNDLED_READER = join(import.meta.dirname, '../../dist/registry-trust-reader.cjs')
const SOURCE_READER = join(import.meta.dirname, '../../agent/main-reader.ts')

/** What the daemon rests between two looks. */
const PAUSE_MS = 200
const NO_NETWORK: TlsSight = {
  address: undefined,
  chain: [],
  protocol: undefined,
  wantsClientCertificate: false,
  failure: { kind: 'dns', text: 'there is no network' },
}

export type ScratchNode = {
  readonly root: string
  readonly ports: RunPorts
  readonly load: () => Promise<LoadResult>
  /** How many loads have begun. */
  readonly loads: () => number
  /** Replaces trust.yaml by one rename. */
  publish(text: string): Promise<void>
  startDaemon(ran: (run: Run) => void): Promise<Daemon>
  dispose(): Promise<void>
}

/** A node with trust.yaml of this size and its CA files beside it, `ca-0.pem` and so on. */
export async function scratchNode({
  registries,
  anchors,
  pauses = true,
  threadEvery = 1,
}: {
  readonly registries: number
  readonly anchors: number
  /** False: the daemon does not rest between two looks. */
  readonly pauses?: boolean
  /** Each so many loads is one by the thread that guards the daemon; the others are decoded in this process. */
  readonly threadEvery?: number
}): Promise<ScratchNode> {
  const root = await mkdtemp(join(tmpdir(), 'registry-trust-scale-'))
  const config = `${root}.config`
  await prepare(root)
  await mkdir(config)
  const pems = await scaleAnchors(anchors)
  for (const [index, pem] of pems.entries()) await writeFile(join(config, `ca-${index}.pem`), pem)
  const publish = async (text: string) => {
    await writeFile(`${root}.next`, text)
    await rename(`${root}.next`, join(config, 'trust.yaml'))
  }
  await publish(JSON.stringify(scaleTrust(registries, anchors)))
  const scratch = scratchPorts(root)
  const { sleep } = scratch.clock
  const clock: Clock = pauses
    ? scratch.clock
    : { ...scratch.clock, sleep: (ms, to) => sleep(ms > PAUSE_MS ? ms : 1, to) }
  const tls: TlsProbe = { ...scratch.tls, inspect: async () => NO_NETWORK }
  const ports: RunPorts = { ...scratch, clock, tls }
  const guarded = guardedLoad({
    paths: [config],
    files: inputFiles(),
    clock: ports.clock,
    thread: readingThread({ program: existsSync(BUNDLED_READER) ? BUNDLED_READER : SOURCE_READER }),
  })
  let loads = 0
  const load = () => {
    loads += 1
    if (loads % threadEvery === 0) return guarded()
    return loadDesiredState({ paths: [config], files: inputFiles(), now: ports.clock.now() })
  }
  return {
    root,
    ports,
    load,
    loads: () => loads,
    publish,
    startDaemon: (ran) =>
      startDaemon({
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
        metrics: createMetrics({ version: 'scale' }),
        beside: { watched: [], told() {}, ran: async (run) => ran(run), changed: async (takeUp) => takeUp() },
      }),
    async dispose() {
      for (const path of [root, config, `${root}.loaded`, `${root}.started`])
        await rm(path, { recursive: true, force: true })
    },
  }
}

async function prepare(root: string): Promise<void> {
  for (const folder of ['/etc/containerd', '/etc/ssl/certs', '/usr/local/share/ca-certificates', CERTS_D])
    await mkdir(join(root, folder), { recursive: true })
  const text = `version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "${CERTS_D}"\n`
  await writeFile(join(root, CONFIG), text)
  await writeFile(`${root}.loaded`, text)
  await writeFile(join(root, '/etc/ssl/certs/ca-certificates.crt'), '')
  await mkdir(join(root, '/run/containerd'), { recursive: true })
  await writeFile(join(root, SOCKET), '')
}
