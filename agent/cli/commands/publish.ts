// `registry-trust publish`: the anchors to the ConfigMaps of the cluster, once, or with --watch for good as the one
// holder of a Lease.

import { type Published, publishAll } from '../../cluster/publish.ts'
import type { ClusterApi, DeploymentName } from '../../model/cluster.ts'
import type { DesiredState } from '../../model/desired-state.ts'
import { AgentError, asAgentError } from '../../model/errors.ts'
import { harmless } from '../output/terminal.ts'
import type { Wiring } from '../wiring.ts'

const LEASE: DeploymentName = { namespace: 'registry-trust', name: 'registry-trust-publish' }
const LEASE_SECONDS = 30
const RENEW_MS = 10_000
/** How often a waiting process looks at the Lease: a holder that ends gives it up at once. */
const RETRY_MS = 2_000

export async function publishCommand(wiring: Wiring): Promise<number> {
  const { options, print } = wiring
  const desired = await configured(wiring)
  const api = await wiring.connectCluster()
  if (options.watch) return watchForGood(api, desired, wiring)
  const results = await publishAll(desired, api)
  print(options.json ? `${JSON.stringify(results, null, 2)}\n` : results.map((one) => line(one, wiring)).join(''))
  return results.every(isGood) ? 0 : 1
}

async function configured({ loadConfig, options }: Wiring): Promise<DesiredState> {
  const loaded = await loadConfig()
  if (!loaded.ok) throw new AgentError('CONFIG_INVALID', loaded.problems.map(({ message }) => message).join('\n'))
  if ((loaded.desired.publish ?? []).length === 0)
    throw new AgentError(
      'CONFIG_INVALID',
      `${options.config.join(', ')}: there is no section publish, so nothing was published`,
    )
  return loaded.desired
}

function isGood({ result }: Pick<Published, 'result'>): boolean {
  return result === 'unchanged' || result === 'written'
}

function line({ configMap, result, restarted, postponed = [], problem }: Published, { paint }: Wiring): string {
  const done = restarted.length === 0 ? '' : `, restarted ${restarted.join(', ')}`
  const later = postponed.length === 0 ? '' : `, to be restarted later: ${postponed.join(', ')}`
  const why =
    problem === undefined
      ? result === 'held'
        ? '\n  one of its anchors cannot be used now: left unchanged'
        : ''
      : `\n  ${harmless(problem.message)}\n  ${problem.remedy}`
  return `${paint(isGood({ result }) ? 'green' : 'red', result.padEnd(9))} ${configMap}${done}${later}${why}\n`
}

/** Looks again when a ConfigMap changes, when a file changes, and now and then anyway; renews the lease in between. */
async function watchForGood(api: ClusterApi, first: DesiredState, wiring: Wiring): Promise<number> {
  const { log, node, signal, ports, watcher, options } = wiring
  let desired = first
  let isDue = true
  let wake = new AbortController()
  const poke = () => {
    isDue = true
    wake.abort()
  }
  const inputs = watcher.watch(
    options.config.map((path) => ({ path, depth: 1 })),
    poke,
  )
  const cluster = api.watch(desired.publish ?? [], poke)
  signal.addEventListener('abort', () => wake.abort(), { once: true })
  let lastTold = ''
  let nextLookAt = 0
  let isHolder = false
  try {
    while (!signal.aborted) {
      wake = new AbortController()
      try {
        isHolder = await api.holdLease(LEASE, node, LEASE_SECONDS)
        if (isHolder && (isDue || ports.clock.monotonic() >= nextLookAt)) {
          isDue = false
          desired = await configured(wiring).catch((thrown: unknown) => keepLast(thrown, desired, wiring))
          const results = await whileHolding(api, wiring, (holding) => publishAll(desired, api, { signal: holding }))
          lastTold = tell(results, lastTold, wiring)
          const isDone =
            results.length === (desired.publish ?? []).length &&
            results.every((one) => isGood(one) && one.postponed === undefined)
          nextLookAt = ports.clock.monotonic() + (isDone ? desired.drift.resyncMs : RENEW_MS)
        }
      } catch (thrown) {
        const { code, message } = asAgentError(thrown)
        log.warn('publish-failed', { code, error: message })
      }
      await ports.clock.sleep(isHolder ? RENEW_MS : RETRY_MS, { signal: wake.signal }).catch(() => undefined)
    }
  } finally {
    cluster.close()
    await inputs.close()
    if (isHolder) await release(api, wiring)
  }
  return 0
}

/** Renews the lease while `work` goes on; the signal that it is given comes when the lease is lost, or at SIGTERM. */
async function whileHolding<T>(
  api: ClusterApi,
  { node, signal, ports, log }: Wiring,
  work: (holding: AbortSignal) => Promise<T>,
): Promise<T> {
  const lost = new AbortController()
  const done = new AbortController()
  const renew = async () => {
    let renewedAt = ports.clock.monotonic()
    while (!done.signal.aborted) {
      await ports.clock.sleep(RENEW_MS, { signal: done.signal })
      const isHeld = await api.holdLease(LEASE, node, LEASE_SECONDS).catch(() => undefined)
      if (isHeld === true) renewedAt = ports.clock.monotonic()
      // An API server that does not answer takes the lease away as surely as another holder, a little later.
      const isOver = ports.clock.monotonic() - renewedAt >= LEASE_SECONDS * 1000 - RENEW_MS
      if (isHeld === false || isOver) return lost.abort()
    }
  }
  const renewing = renew().catch(() => undefined)
  try {
    return await work(AbortSignal.any([lost.signal, signal]))
  } finally {
    if (lost.signal.aborted) log.warn('lease-lost', { lease: `${LEASE.namespace}/${LEASE.name}` })
    done.abort()
    await renewing
  }
}

async function release(api: ClusterApi, { node, log }: Wiring): Promise<void> {
  try {
    await api.releaseLease(LEASE, node)
  } catch (thrown) {
    log.warn('lease-not-released', { error: asAgentError(thrown).message })
  }
}

function keepLast(thrown: unknown, last: DesiredState, { log }: Wiring): DesiredState {
  log.warn('config-invalid', { error: asAgentError(thrown).message })
  return last
}

/** Logs each event as one line; the same failure is not logged again. */
function tell(results: readonly Published[], lastTold: string, { log }: Wiring): string {
  const worth = results.filter(({ result, restarted }) => result !== 'unchanged' || restarted.length > 0)
  const text = JSON.stringify(worth)
  if (worth.length > 0 && text !== lastTold)
    for (const { configMap, result, restarted, problem } of worth)
      if (problem === undefined) log.info('published', { configMap, result, restarted })
      else log.warn('published', { configMap, result, restarted, error: problem.message })
  return text
}
