// `registry-trust fleet`: the component that sees every node of the cluster; `registry-trust fleet resume` lets a
// halted roll-out go on.
import { randomBytes } from 'node:crypto'
import { agentClient } from '../../cluster/agent-client.ts'
import { fleetApi } from '../../cluster/fleet-api.ts'
import { kubernetesApi } from '../../cluster/kubernetes-api.ts'
import { publishAll } from '../../cluster/publish.ts'
import { digestOfConfigMap } from '../../config/config-digest.ts'
import { loadOwnSettings } from '../../config/own-settings.ts'
import { Controller } from '../../fleet/controller.ts'
import { createOwnConfig } from '../../fleet/own-config.ts'
import { createFleetMetrics } from '../../fleet/report/metrics.ts'
import { fleetReport } from '../../fleet/report/report.ts'
import { createFleetServer } from '../../fleet/report/server.ts'
import type { DesiredState } from '../../model/desired-state.ts'
import { AgentError, asAgentError } from '../../model/errors.ts'
import type { Wiring } from '../wiring.ts'

/** In the same bundle, since all of them speak to the API server. */
export { statusAllCommand } from './status-all.ts'
export { supportBundleOfFleet } from './support-bundle-fleet.ts'

const TURN_MS = 1_000
/** Answers and changes come in bursts. */
const SHORTEST_PAUSE_MS = 200
const CONFIG_MS = 30_000
const STUCK_MS = 120_000
const NAMESPACE_FILE = '/var/run/secrets/kubernetes.io/serviceaccount/namespace'

export async function fleetCommand(wiring: Wiring): Promise<number> {
  const { options, log } = wiring
  const [verb] = options.operands
  if (verb !== undefined && verb !== 'resume')
    throw new AgentError('USAGE', `there is no command "fleet ${verb}"; the only one is: fleet resume`)
  const namespace = await ownNamespace(wiring)
  const api = fleetApi({ kubeconfig: options.kubeconfig, namespace, digestOf: digestOfConfigMap, log })
  if (verb === 'resume') {
    await api.resume(new Date(wiring.ports.clock.now()).toISOString())
    wiring.print('The roll-out continues: the failures so far are acknowledged.\n')
    return 0
  }
  return run(wiring, api)
}

async function run(wiring: Wiring, api: ReturnType<typeof fleetApi>): Promise<number> {
  const { options, version, node, ports, log, signal } = wiring
  const { clock } = ports
  let wake = new AbortController()
  let lastTurnMs = clock.monotonic()
  const config = createOwnConfig({
    ...{ log, loadConfig: wiring.loadConfig },
    loadOwnSettings: () => loadOwnSettings(options.config, wiring.inputs),
  })
  await config.read()
  const { settings, hosts } = config
  const problem = () => config.problem() ?? controller.problem()
  const controller: Controller = new Controller({
    ...{ api, me: node, settings, hosts, clock, log },
    client: agentClient({ certificate: () => agentsCertificate(wiring) }),
    newId: () => randomBytes(8).toString('hex'),
    onProved: (seconds) => metrics.proved(seconds),
    wake: () => wake.abort(),
  })
  const metrics = createFleetMetrics(version, () => controller, problem)
  const server = createFleetServer({
    version,
    report: (query) => fleetReport({ ...controller.picture(), configProblem: problem() }, settings().rollout, query),
    metrics,
    readiness: () => readiness(controller),
    liveness: () =>
      check('loop', clock.monotonic() - lastTurnMs < STUCK_MS, 'the loop has not finished a turn for a long time'),
    log,
  })
  const address = await server.listen(options.listen)
  log.info('listening', { address: `${address.host}:${address.port}`, version })
  signal.addEventListener('abort', () => wake.abort(), { once: true })
  const publishing = publisher(wiring)
  let configAtMs = clock.monotonic()
  try {
    while (!signal.aborted) {
      wake = new AbortController()
      await controller.turn()
      lastTurnMs = clock.monotonic()
      if (lastTurnMs - configAtMs > CONFIG_MS) {
        configAtMs = lastTurnMs
        await config.read()
      }
      const desired = config.desired()
      if (desired !== undefined && controller.isLeading()) publishing.follow(desired)
      await clock.sleep(SHORTEST_PAUSE_MS).catch(() => undefined)
      await clock.sleep(TURN_MS - SHORTEST_PAUSE_MS, { signal: wake.signal }).catch(() => undefined)
    }
  } finally {
    log.info('stopping', { reason: String(signal.reason) })
    await controller.stop()
    await server.close()
  }
  return 0
}

/** Where the Secret registry-trust-http has none, agents serve HTTP. */
async function agentsCertificate({ options, inputs }: Wiring): Promise<string | undefined> {
  if (options.tlsCertFile === undefined) return undefined
  const file = await inputs.read(options.tlsCertFile, { maxBytes: 256 * 1024 })
  return file.kind === 'file' ? file.bytes.toString('utf8') : undefined
}

function readiness(controller: Controller) {
  const [isSynced, isLeading] = [controller.isSynced(), controller.isLeading()]
  const { checks } = check('lists', isSynced, 'Pods, Nodes and the ConfigMap have not been read yet')
  const leads = check('lease', isLeading, 'another replica leads, or the API server does not answer')
  return { ready: isSynced && isLeading, checks: [...checks, ...leads.checks] }
}

function check(name: string, ok: boolean, message: string) {
  return { ready: ok, checks: [{ name, ok, message: ok ? '' : message }] }
}

/** The ConfigMaps of the section publish: after a change, and now and then anyway. */
function publisher({ options, ports, log }: Wiring) {
  let doneFor = ''
  let nextMs = 0
  let isBusy = false
  const publish = async (desired: DesiredState) => {
    const api = kubernetesApi({ kubeconfig: options.kubeconfig, log })
    for (const { configMap, result, restarted, problem } of await publishAll(desired, api))
      if (problem !== undefined) log.warn('published', { configMap, result, error: problem.message })
      else if (result !== 'unchanged' || restarted.length > 0) log.info('published', { configMap, result, restarted })
  }
  return {
    follow(desired: DesiredState) {
      const nowMs = ports.clock.monotonic()
      const isDue = desired.generation !== doneFor || nowMs >= nextMs
      if (isBusy || !isDue || (desired.publish ?? []).length === 0) return
      isBusy = true
      doneFor = desired.generation
      nextMs = nowMs + desired.drift.resyncMs
      publish(desired)
        .catch((thrown: unknown) => log.warn('publish-failed', { error: asAgentError(thrown).message }))
        .finally(() => {
          isBusy = false
        })
    },
  }
}

async function ownNamespace({ options, inputs }: Wiring): Promise<string> {
  if (options.namespace !== undefined) return options.namespace
  const file = await inputs.read(NAMESPACE_FILE, { maxBytes: 300 })
  return file.kind === 'file' ? file.bytes.toString('utf8').trim() : 'registry-trust'
}
