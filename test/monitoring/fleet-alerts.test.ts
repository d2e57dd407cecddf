// The alerts about the fleet, by promtool over simulated time, on what the component's own metrics code tells.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Controller } from '../../agent/fleet/controller.ts'
import { createFleetMetrics } from '../../agent/fleet/report/metrics.ts'
import type { FleetPicture } from '../../agent/fleet/state/picture.ts'
import { ALERT_GROUPS, runbookUrl } from '../../scripts/monitoring/alerts.ts'
import { lineOf, WELL } from '../fixtures/fleet/pictures.ts'
import { promtool } from '../fixtures/monitoring/prometheus.ts'

const RULES = new URL('../../daemonset/monitoring/rules.yaml', import.meta.url).pathname
const FLEET = ALERT_GROUPS.find(({ name }) => name === 'registry-trust.fleet')?.alerts ?? []
const LABELS = { job: 'registry-trust-fleet', instance: '10.0.0.1:9462' }
const MINUTE = 60
const WELL_FOR = 20
const MINUTES = 260

/** `configProblem` is told by the component's own configuration. */
type Trouble = Partial<FleetPicture>

const restart = { pending: true, awaitsGrant: true, reason: "waits for the fleet's grant", last: null }
const well = ['a', 'b', 'c'].map((node) => lineOf(node, { ...WELL, node }))
const picture = (trouble: Trouble): FleetPicture => ({
  ...{ isLeading: true, isSynced: true, config: 'c'.repeat(64), lines: well, nodes: [], halted: undefined },
  record: { config: '', grants: {}, failed: {}, forgiven: {}, resume: '' },
  ...trouble,
})
const waits = [...well.slice(1), lineOf('a', { ...WELL, node: 'a', state: 'restart-pending', restart })]

/** Series in promtool's notation: all is well for a while, then the trouble lasts. */
async function recorded(trouble: Trouble): Promise<readonly { series: string; values: string }[]> {
  let now = picture({})
  const counts = { touches: 0, writes: 0, requests: 0, failures: 0, pulls: 0, refusals: 0, wakes: 0, wakeFailures: 0 }
  const metrics = createFleetMetrics(
    '1',
    () => ({ picture: () => now, counts }) as unknown as Controller,
    () => now.configProblem,
  )
  const before = samples(await metrics.text())
  now = picture(trouble)
  const after = samples(await metrics.text())
  const names = new Set([...before.keys(), ...after.keys()])
  return [...names].map((series) => {
    const [first, then] = [before, after].map((all) => all.get(series) ?? '_')
    return { series, values: `${first}x${WELL_FOR - 1} ${then}x${MINUTES - WELL_FOR - 1}` }
  })
}

function samples(text: string): ReadonlyMap<string, string> {
  const own = Object.entries(LABELS).map(([name, value]) => `${name}="${value}"`)
  const lines = text.split('\n').map((line) => /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [])
  return new Map(
    lines.flatMap(([, name, labels, value]) =>
      name?.startsWith('registry_trust_fleet_') === true && value !== undefined
        ? [[`${name}{${[labels, ...own].filter(Boolean).join(',')}}`, value] as const]
        : [],
    ),
  )
}

type Case = { readonly name: string; readonly trouble: Trouble; readonly afterMinutes: number; readonly value: string }

const CASES: readonly Case[] = [
  {
    name: 'RegistryTrustFleetConfigRejected',
    trouble: { configProblem: 'trust.yaml is not valid' },
    ...{ afterMinutes: 10, value: '0' },
  },
  {
    name: 'RegistryTrustFleetHalted',
    trouble: { halted: 'one node failed (a)', lines: waits },
    ...{ afterMinutes: 0, value: '1' },
  },
  {
    name: 'RegistryTrustFleetNodesUnreachable',
    trouble: { lines: [...well.slice(1), lineOf('a', { ...WELL, node: 'a' }, true)] },
    ...{ afterMinutes: 10, value: '1' },
  },
  // An hour in which nothing has moved, and another one for certainty.
  { name: 'RegistryTrustFleetRolloutStuck', trouble: { lines: waits }, afterMinutes: 120, value: '1' },
]

t.test('each alert about the fleet fires for its trouble alone, when it should, with its runbook', async (t) => {
  t.same(CASES.map(({ name }) => name).sort(), FLEET.map(({ name }) => name).sort())
  const folder = t.testdir()
  const tests = await Promise.all(
    CASES.map(async ({ name, trouble, afterMinutes, value }) => {
      const expected = (minute: number, alertname: string) => {
        const alert = FLEET.find((one) => one.name === alertname)
        const isFiring = alertname === name && minute >= WELL_FOR + afterMinutes
        if (alert === undefined || !isFiring) return []
        const state = alertname === 'RegistryTrustFleetNodesUnreachable' ? { state: 'unreachable' } : {}
        const { severity, summary, description } = alert
        const texts = { summary: summary.replace('{{ $value }}', value), description, runbook_url: runbookUrl(alert) }
        return [{ exp_labels: { severity, ...LABELS, ...state }, exp_annotations: texts }]
      }
      const last = Math.max(0, WELL_FOR + afterMinutes - 1)
      const moments = [WELL_FOR - 1, last, WELL_FOR + afterMinutes + 1, MINUTES - 2]
      return {
        interval: '1m',
        input_series: await recorded(trouble),
        alert_rule_test: moments.flatMap((minute) =>
          FLEET.map(({ name: alertname }) => ({
            eval_time: `${minute * MINUTE}s`,
            alertname,
            exp_alerts: expected(minute, alertname),
          })),
        ),
      }
    }),
  )
  const file = join(folder, 'test.yaml')
  writeFileSync(file, JSON.stringify({ rule_files: [RULES], evaluation_interval: '1m', tests }))
  t.match(await promtool('test', 'rules', file), 'SUCCESS')
})
