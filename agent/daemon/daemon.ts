// The daemon put together: the loop, what wakes it (sources, the node's folders, what registries serve) and whom it
// tells (metrics, fleet). It owns no port: they are handed in, and the HTTP server stands beside it.
// This room: the process that stays: when to look, what it remembers, what it reports.
// Begin here; then loop.ts (the turns), history.ts (the memory), status.ts (the answer made of it); fleet/ is what it does
// for the fleet component, watch/ what wakes it.
// May touch: ports that it is handed; a run changes the node, the loop never does.
import type { LoadConfig } from '../config/load.ts'
import { breaksTrust, provesTrust } from '../model/finding.ts'
import type { InputFiles, Mounts, RememberedFiles, RuntimePulse, Watcher } from '../model/ports.ts'
import type { ProofResult } from '../model/proof.ts'
import type { Run } from '../model/run.ts'
import type { RunPorts } from '../model/run-ports.ts'
import type { WatchedFolder } from '../model/target.ts'
import type { Metrics, RegistryFacts } from '../telemetry/metrics.ts'
import { restartCounter } from './count-restarts.ts'
import type { StatusIdentity } from './history.ts'
import { type Loop, startLoop } from './loop.ts'
import { measure } from './measure.ts'
import { keptCertificates } from './watch/kept-certificates.ts'
import { deletedFolders, staleHostsFile, staleSources } from './watch/mounts.ts'
import { watchPulse } from './watch/pulse.ts'
import { servedWatch } from './watch/served-chains.ts'
import { watchedFolders } from './watch/watched-folders.ts'
import { foldersOfSources, watchNode } from './watch/watching.ts'

export type DaemonOptions = {
  readonly identity: StatusIdentity
  readonly address: string | undefined
  readonly consentUnrehearsed: boolean
  /** Files and folders of the configuration. */
  readonly config: readonly string[]
  readonly loadConfig: LoadConfig
  readonly ports: RunPorts
  readonly inputs: InputFiles
  /** For the configuration. */
  readonly watcher: Watcher
  /** For folders of the node. */
  readonly nodeWatcher: Watcher
  readonly mounts: Mounts
  readonly pulse: RuntimePulse
  readonly metrics: Metrics
  /** Absent: every look reads everything. */
  readonly remembered?: RememberedFiles
  readonly beside: Beside
}

/** What goes along with the loop without being part of it. */
export type Beside = {
  /** Watched together with the folders of the configuration. */
  readonly watched: readonly WatchedFolder[]
  told(now: { readonly isApplying: boolean }): void
  ran(run: Run): Promise<void>
  /** Calls back when it is this node's turn to take up what has changed. */
  changed(takeUp: () => void): Promise<void>
}

export type Daemon = {
  readonly loop: Loop
  /** Of the registries of the configuration in force, as of now. */
  registryFacts(): readonly RegistryFacts[]
  stop(): Promise<void>
}

/** A first look that restarts containerd or waits for it must not delay health checks. */
const FIRST_TURN_MS = 400

/** Resolves when the first look has ended or takes long: requests can be answered then. */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const { ports, inputs, watcher, nodeWatcher, mounts, pulse, metrics, beside, config, remembered, ...rest } = options
  const logins = new Map<string, boolean | undefined>()
  const served = servedWatch({ ...ports, onChanged: (host) => loop.proveSoon(host) })
  let dependsOn: readonly WatchedFolder[] = []

  const lookAtServed = (failed?: ReadonlySet<string>) =>
    void served.refresh(loop.registries(), failed === undefined ? {} : { failed })
  const onProofs = (proofs: readonly ProofResult[]) => {
    for (const { host, level, finding, durationMs, loginAccepted } of proofs) {
      metrics.proof({ registry: host, level, code: finding.code, durationMs })
      logins.set(host, loginAccepted)
    }
    for (const { host, finding, at } of proofs) if (provesTrust(finding.code)) served.proved(host, at)
    const failed = proofs.filter(({ finding }) => breaksTrust(finding.code)).map(({ host }) => host)
    if (failed.length > 0) lookAtServed(new Set(failed))
  }

  const countRestarts = restartCounter(ports, metrics)
  const kept = keptCertificates(ports.files)
  let telling: Promise<void> = Promise.resolve()
  const tellCertificates = async ({ outcome, state }: Run) => {
    // It did not get to read what is owned.
    if (outcome === 'failed') return
    const certificates = await kept(state.owned)
    if (certificates !== undefined) metrics.certificates(certificates)
  }
  const loop = startLoop({
    ...rest,
    ports:
      remembered === undefined ? ports : { ...ports, memory: { files: remembered, last: { unchanged: undefined } } },
    forget: () => remembered?.forget(),
    advisories: (desired) => [
      ...served.changed(),
      ...staleSources(desired?.sources ?? [], mounts()),
      ...staleHostsFile(mounts()),
    ],
    isBlind() {
      const folders = dependsOn.map(({ path }) => ports.files.hostPath(path))
      const gone = deletedFolders(folders, mounts())
      return gone.length === 0 ? undefined : `replaced on the node since they were mounted: ${gone.join(', ')}`
    },
    events: {
      onConfig: (valid) => metrics.config(valid),
      onStatus: (now) => beside.told(now),
      onProofs,
      onRun(run, facts) {
        measure(metrics, run, facts)
        // One after the other: an older answer must not come last.
        telling = telling.then(() => tellCertificates(run)).catch(() => undefined)
        void countRestarts().catch(() => undefined)
        follow(run)
        runtime.see(loop.socket())
        void beside.ran(run)
        // Beside the loop: a registry that does not answer delays nothing.
        lookAtServed()
      },
    },
  })
  const node = watchNode(nodeWatcher, ports.files, () => loop.poke())
  const folders = watchedFolders(ports.targets)
  function follow({ facts, planned, state }: Run): void {
    if (facts === undefined && planned === undefined) return
    const wanted = folders({ facts, certsDirectory: planned?.plan.certsDirectory, owned: state.owned })
    if (wanted === dependsOn) return
    dependsOn = wanted
    node.follow(dependsOn)
  }
  const runtime = watchPulse({ ...ports, pulse, onLost: (reason) => loop.lost(reason) })
  // The node comes first: what watches and answers takes as long to load as a look takes. What changes meanwhile is
  // looked at when the watch has begun.
  await Promise.race([loop.firstTurn(), ports.clock.sleep(FIRST_TURN_MS)])
  const given = [...(await foldersOfSources(config, inputs)), ...beside.watched]
  const sources = watcher.watch(given, () => void beside.changed(() => loop.poke()))
  void sources.ready.then(() => loop.poke())
  return {
    loop,
    registryFacts: () =>
      loop.registries().map(({ host, proof }) => ({
        registry: host,
        loginAccepted: logins.get(host),
        servedNotAfter: served.of(host)?.notAfter,
        proofEverySeconds: proof.everyMs / 1000,
      })),
    async stop() {
      await sources.close()
      await node.close()
      runtime.close()
      await loop.stop()
    },
  }
}
