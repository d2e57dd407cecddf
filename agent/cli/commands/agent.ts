// `registry-trust agent`: the daemon. Ends on SIGTERM after the run under way; what it put on the node stays.
import { posix } from 'node:path'
import { startLoop } from '../../daemon/loop.ts'
import { deletedFolders, staleHostsFile, staleSources } from '../../daemon/mounts.ts'
import { servedWatch } from '../../daemon/served-chains.ts'
import { foldersToWatch } from '../../daemon/watched-folders.ts'
import { breaksTrust, provesTrust } from '../../model/finding.ts'
import type { Watching } from '../../model/ports.ts'
import type { Run } from '../../model/run.ts'
import type { NodeStatus } from '../../model/status.ts'
import type { WatchedFolder } from '../../model/target.ts'
import type { Metrics, ReconcileResult } from '../../telemetry/metrics.ts'
import type { Wiring } from '../wiring.ts'
import { agentFleet } from './agent-fleet.ts'
import { keepFragments } from './with-config.ts'

export async function agentCommand(wiring: Wiring): Promise<number> {
  const { options, version, node, ports, files, inputs, watcher, log, levels, signal } = wiring
  const metrics = await wiring.createMetrics()
  const logins = new Map<string, boolean | undefined>()
  const served = servedWatch({ ...ports, onChanged: (host) => loop.proveSoon(host) })
  const fleet = agentFleet(wiring)
  const loadConfig = async () => {
    await fleet.beforeLoad()
    const loaded = await wiring.loadConfig()
    // Before anything is done with it: a level for the run that follows must count for that run.
    if (loaded.ok) {
      levels.configured(loaded.desired.logLevel)
      fleet.configured(loaded.desired)
      await keepFragments(wiring, loaded)
    }
    return loaded
  }
  const tellFacts = ({ registries }: NodeStatus) => {
    const facts = registries.map(({ host }) => ({
      registry: host,
      loginAccepted: logins.get(host),
      servedNotAfter: served.of(host)?.notAfter,
      proofEverySeconds: loop.proofEverySeconds(host),
    }))
    metrics.registryFacts(facts)
  }
  const lookAtServed = (failed?: ReadonlySet<string>) =>
    void served.look(loop.registries(), failed === undefined ? {} : { failed }).then(() => tellFacts(loop.status()))
  let dependsOn: readonly WatchedFolder[] = []
  const loop = startLoop({
    advisories(desired) {
      const mounts = wiring.mounts()
      return [...served.changed(), ...staleSources(desired?.sources ?? [], mounts), ...staleHostsFile(mounts)]
    },
    isBlind() {
      const gone = deletedFolders(
        dependsOn.map(({ path }) => files.hostPath(path)),
        wiring.mounts(),
      )
      return gone.length === 0 ? undefined : `replaced on the node since they were mounted: ${gone.join(', ')}`
    },
    identity: { node, version },
    address: options.containerdAddress,
    consentUnrehearsed: options.consentUnrehearsed,
    loadConfig,
    ports: { ...ports, fleet: fleet.desk },
    events: {
      onConfig: (valid) => metrics.config(valid),
      onStatus: (status: NodeStatus) => {
        metrics.observeStatus(status)
        fleet.told(status)
        tellFacts(status)
      },
      onProofs: (proofs) => {
        for (const { host, level, finding, durationMs, loginAccepted } of proofs) {
          metrics.proof({ registry: host, level, code: finding.code, durationMs })
          logins.set(host, loginAccepted)
        }
        for (const { host, finding, at } of proofs) if (provesTrust(finding.code)) served.proved(host, at)
        const failed = proofs.filter(({ finding }) => breaksTrust(finding.code)).map(({ host }) => host)
        if (failed.length > 0) lookAtServed(new Set(failed))
      },
      onRun(run, facts) {
        measure(metrics, run, facts)
        watchNode(run)
        void fleet.ran(run)
        // Beside the loop: a registry that does not answer holds up nothing.
        lookAtServed()
      },
    },
  })
  const nodeWatch = watchFolders(wiring, () => loop.poke())
  function watchNode({ facts, planned, state }: Run): void {
    if (facts === undefined) return
    dependsOn = foldersToWatch({ facts, certsDirectory: planned?.plan.certsDirectory, owned: state.owned })
    nodeWatch.follow(dependsOn)
  }
  // The node comes first: loading the server takes as long as the first look at containerd.
  const { createServer } = await import('../../http/server.ts')
  const { tokenFile } = options
  const server = createServer({
    status: loop.status,
    summary: () => fleet.summary(loop.status()),
    metrics: {
      contentType: metrics.contentType,
      // As of the scrape: that nothing was seen for long is no event.
      text() {
        metrics.observeStatus(loop.status())
        return metrics.text()
      },
    },
    readiness: loop.readiness,
    liveness: loop.liveness,
    onReconcile: ({ force }) => loop.poke({ byHand: force }),
    onProve: () => loop.poke({ prove: true }),
    onLogLevel: ({ level, forMs }) => levels.override(level, forMs),
    ...(tokenFile === undefined ? {} : { token: () => readToken(tokenFile, inputs) }),
    log,
  })
  const folders = await watchedFolders(options.config, inputs)
  const watching = watcher.watch([...folders, ...fleet.watched], () => void fleet.changed(() => loop.poke()))
  void watching.ready.then(() => loop.poke())
  try {
    const address = await server.listen(options.listen)
    log.info('listening', { address: `${address.host}:${address.port}`, version })
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve()
      else signal.addEventListener('abort', () => resolve(), { once: true })
    })
    log.info('stopping', { reason: String(signal.reason) })
  } finally {
    levels.close()
    fleet.close()
    await watching.close()
    await nodeWatch.close()
    await loop.stop()
    await server.close()
  }
  return 0
}

/** The folder of a file is watched, never the file: editors and the kubelet replace it. */
async function watchedFolders(paths: readonly string[], inputs: Wiring['inputs']) {
  const folders = await Promise.all(
    paths.map(async (path) => {
      const found = await inputs.read(path, { maxBytes: 0 })
      const isFile = found.kind === 'file' || found.kind === 'too-large'
      return isFile || /\.ya?ml$/.test(path) ? posix.dirname(path) : path
    }),
  )
  return [...new Set(folders)].map((path) => ({ path, depth: 1 }))
}

/** Watches the node's folders that the agent depends on; which ones is known after the first run, and may change. */
function watchFolders({ watcher, files }: Wiring, onChange: () => void) {
  let followed = ''
  let watching: Watching | undefined
  return {
    follow(folders: readonly WatchedFolder[]) {
      const wanted = JSON.stringify(folders)
      if (wanted === followed) return
      followed = wanted
      void watching?.close()
      watching = watcher.watch(
        folders.map(({ path, depth }) => ({ path: files.hostPath(path), depth })),
        onChange,
      )
      void watching.ready.then(onChange)
    },
    async close() {
      await watching?.close()
    },
  }
}

async function readToken(path: string, inputs: Wiring['inputs']): Promise<string | undefined> {
  const file = await inputs.read(path, { maxBytes: 4096 })
  return file.kind === 'file' ? file.bytes.toString('utf8').trim() : undefined
}

type RunFacts = {
  readonly drifted: number
  readonly healed: readonly { readonly target: string }[]
  readonly durationMs: number
}

function measure(metrics: Metrics, run: Run, { healed, durationMs }: RunFacts): void {
  const changes = run.planned?.plan.changes ?? []
  metrics.plan(changes.length)
  metrics.reconcile(resultOf(run), durationMs / 1000)
  for (const { target } of healed) {
    metrics.driftDetected(target)
    metrics.driftHealed(target)
  }
  for (const { result } of run.restarts) {
    metrics.restart('apply', result === 'ok' ? 'succeeded' : 'failed')
    if (result !== 'ok') metrics.restart('rollback', result === 'rolled-back' ? 'succeeded' : 'failed')
  }
  if (run.outcome === 'rolled-back') metrics.rollback()
  metrics.deprecations(run.facts?.status.deprecations ?? [])
  metrics.writerConflicts(run.planned?.conflicts ?? [])
  const folder = run.planned?.plan.certsDirectory ?? ''
  const files = run.planned?.stagedHosts.filter(({ path }) => path.endsWith('.crt')) ?? []
  const named = run.planned?.legacyFiles?.filter(({ path }) => path.endsWith('.crt')) ?? []
  metrics.certificates([
    ...files.map(({ path, bytes }) => ({ path: `${folder}/${path}`, pem: bytes.toString('utf8') })),
    ...named.map(({ path, bytes }) => ({ path, pem: bytes.toString('utf8') })),
  ])
}

function resultOf({ outcome }: Run): ReconcileResult {
  switch (outcome) {
    case 'applied':
      return 'committed'
    case 'no-containerd':
    case 'failed':
      return 'failed'
    case 'planned':
      return 'deferred'
    case 'unchanged':
    case 'deferred':
    case 'refused':
    case 'rolled-back':
    case 'rollback-failed':
      return outcome
    default:
      throw outcome satisfies never
  }
}
