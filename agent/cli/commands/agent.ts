// `registry-trust agent`: the daemon and its HTTP server. Ends on SIGTERM after the run under way; what it put on the
// node stays.
import type { LoadResult, LookOptions } from '../../config/load.ts'
import { startDaemon } from '../../daemon/daemon.ts'
import { AgentFleet } from '../../daemon/fleet/agent-fleet.ts'
import type { ServerOptions } from '../../http/server.ts'
import { AgentError } from '../../model/errors.ts'
import { stopped } from '../stopped.ts'
import type { Wiring } from '../wiring.ts'
import { keepFragments } from './with-config.ts'

export async function agentCommand(wiring: Wiring): Promise<number> {
  const { options, version, node, ports, inputs, watcher, mounts, pulse, log, levels, signal } = wiring
  const metrics = await wiring.createMetrics()
  const fleet = new AgentFleet(wiring)
  const { loop, registryFacts, stop } = await startDaemon({
    identity: { node, version },
    address: options.containerdAddress,
    consentUnrehearsed: options.consentUnrehearsed,
    config: options.config,
    loadConfig: (options) => loadConfig(wiring, fleet, options),
    ports: { ...ports, fleet: fleet.desk },
    remembered: wiring.remembered,
    nodeWatcher: wiring.nodeWatcher,
    inputs,
    watcher,
    mounts,
    pulse,
    metrics,
    beside: fleet,
  })
  // After the first look: loading the server takes as long as that, and would hold it up.
  const { createServer } = await import('../../http/server.ts')
  const { tokenFile, tlsCertFile, tlsKeyFile, healthListen } = options
  const serving: ServerOptions = {
    status: () => loop.status(),
    summary: () => fleet.summary(loop.status()),
    metrics: {
      contentType: metrics.contentType,
      // Judged at the time of the scrape, because no event says that nothing was seen for a long time.
      text() {
        metrics.observeStatus(loop.status())
        metrics.registryFacts(registryFacts())
        return metrics.text()
      },
    },
    readiness: () => loop.readiness(),
    liveness: () => loop.liveness(),
    onReconcile: ({ force }) => loop.poke({ byHand: force }),
    onProve({ force }) {
      if (force) ports.logins?.forgive()
      loop.poke({ prove: true })
    },
    onLogLevel: ({ level, forMs }) => levels.override(level, forMs),
    ...(tokenFile === undefined ? {} : { token: () => readToken(tokenFile, inputs) }),
    ...(tlsCertFile !== undefined &&
      tlsKeyFile !== undefined && { certificate: () => readPair(tlsCertFile, tlsKeyFile, inputs) }),
    log,
  }
  const server = createServer(serving)
  const { certificate: _, ...plain } = serving
  const probes = healthListen === undefined ? undefined : createServer({ ...plain, isHealthOnly: true })
  try {
    const address = await server.listen(options.listen)
    if (healthListen !== undefined) await probes?.listen(healthListen)
    // All that a daemon needs is loaded.
    wiring.keepHeapSmall()
    log.info('listening', { address: `${address.host}:${address.port}`, version })
    await stopped(signal)
    log.info('stopping', { reason: String(signal.reason) })
  } finally {
    levels.close()
    fleet.close()
    await stop()
    await server.close()
    await probes?.close()
  }
  return 0
}

/**
 * A level for the run that follows must count for that run, so it is set before anything is done with the
 * configuration.
 */
async function loadConfig(wiring: Wiring, fleet: AgentFleet, options?: LookOptions): Promise<LoadResult> {
  await fleet.beforeLoad()
  const loaded = await wiring.loadConfig(options)
  if (!loaded.ok) return loaded
  wiring.levels.configured(loaded.desired.logLevel)
  fleet.configured(loaded.desired)
  await keepFragments(wiring, loaded)
  return loaded
}

async function readPair(certFile: string, keyFile: string, inputs: Wiring['inputs']) {
  const [cert, key] = await Promise.all([readPem(certFile, inputs), readPem(keyFile, inputs)])
  return { cert, key }
}

async function readPem(path: string, inputs: Wiring['inputs']): Promise<Buffer> {
  const file = await inputs.read(path, { maxBytes: 256 * 1024 })
  if (file.kind === 'file') return file.bytes
  const why = file.kind === 'unreadable' ? file.reason : file.kind
  throw new AgentError('LISTEN_FAILED', `${path} cannot be read: ${why}`)
}

async function readToken(path: string, inputs: Wiring['inputs']): Promise<string | undefined> {
  const file = await inputs.read(path, { maxBytes: 4096 })
  return file.kind === 'file' ? file.bytes.toString('utf8').trim() : undefined
}
