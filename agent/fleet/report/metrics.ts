// The metrics of the fleet component. Nodes are counted, never named: their names stand in GET /fleet.
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { Controller } from '../controller.ts'
import type { FleetPicture } from '../state/picture.ts'
import { FLEET_STATES } from '../state/verdict.ts'
import { generationsOf, registriesOf } from './report.ts'

const PHASES = ['pending', 'granted', 'done', 'failed'] as const

export type FleetMetrics = {
  readonly contentType: string
  text(): Promise<string>
  proved(seconds: number): void
}

export function createFleetMetrics(
  version: string,
  controller: () => Controller,
  configProblem: () => string | undefined = () => undefined,
): FleetMetrics {
  const registry = new Registry()
  const registers = [registry]
  const gauge = <Label extends string>(name: string, help: string, labelNames: readonly Label[] = []) =>
    new Gauge({ name, help, labelNames: [...labelNames], registers })
  const nodes = gauge('registry_trust_fleet_nodes', 'Nodes with an agent, by state.', ['state'])
  const current = gauge(
    'registry_trust_fleet_current_nodes',
    'Nodes that have answered for the configuration in force.',
  )
  const untrusted = gauge('registry_trust_fleet_registry_untrusted_nodes', 'Nodes that do not trust a registry.', [
    'registry',
    'code',
  ])
  const rollout = gauge('registry_trust_fleet_rollout_nodes', 'Nodes of a generation, by phase of its roll-out.', [
    'generation',
    'phase',
  ])
  const halted = gauge('registry_trust_fleet_halted', '1: restarts failed, and no more are granted.')
  const outstanding = gauge('registry_trust_fleet_grants_outstanding', 'Grants that have not ended.')
  const leading = gauge('registry_trust_fleet_leading', '1: this component holds the Lease.')
  const configValid = gauge(
    'registry_trust_fleet_config_valid',
    '0: something else is in force than what trust.yaml declares for the component; GET /fleet says why.',
  )
  gauge('registry_trust_fleet_info', 'Version of the component.', ['version']).set({ version }, 1)
  const propagation = new Histogram({
    name: 'registry_trust_fleet_propagation_seconds',
    help: 'Time from when a change was seen until a node proved it.',
    buckets: [0.5, 1, 2, 5, 10, 30, 60, 120, 180, 300, 600],
    registers,
  })
  const counters = {
    touches: counter('registry_trust_fleet_touches_total', 'Patches of the annotation of Pods.'),
    writes: counter('registry_trust_fleet_announcements_total', 'Writes of conditions, Events and taints.'),
    requests: counter('registry_trust_fleet_polls_total', 'Requests to agents.'),
    failures: counter('registry_trust_fleet_poll_failures_total', 'Requests to agents without a valid answer.'),
    pulls: counter('registry_trust_fleet_pulls_total', 'Images that nodes pulled for waiting Pods.'),
    refusals: counter(
      'registry_trust_fleet_pulls_refused_total',
      'Images that could not be pulled for waiting Pods without a login.',
    ),
    wakes: counter(
      'registry_trust_fleet_woken_pods_total',
      'Waiting Pods that were touched once their image was there.',
    ),
    wakeFailures: counter('registry_trust_fleet_wake_failures_total', 'Waiting Pods that could not be touched.'),
  }
  function counter(name: string, help: string) {
    return { last: 0, counter: new Counter({ name, help, registers }) }
  }
  const observe = (picture: FleetPicture) => {
    for (const state of FLEET_STATES) nodes.set({ state }, 0)
    for (const { state } of picture.lines) nodes.inc({ state })
    current.set(picture.lines.filter(({ facts }) => facts.isCurrent).length)
    untrusted.reset()
    for (const { host, code, nodes: count } of registriesOf(picture.lines))
      untrusted.set({ registry: host, code }, count)
    rollout.reset()
    for (const one of generationsOf(picture))
      for (const phase of PHASES) rollout.set({ generation: one.generation, phase }, one[phase])
    halted.set(picture.halted === undefined ? 0 : 1)
    outstanding.set(Object.keys(picture.record.grants).length)
    configValid.set(configProblem() === undefined ? 1 : 0)
    leading.set(picture.isLeading ? 1 : 0)
  }
  return {
    contentType: registry.contentType,
    proved: (seconds) => propagation.observe(seconds),
    async text() {
      observe(controller().picture())
      const { counts } = controller()
      for (const [name, known] of Object.entries(counters)) {
        const value = counts[name as keyof typeof counts]
        known.counter.inc(value - known.last)
        known.last = value
      }
      return registry.metrics()
    },
  }
}
