// The section `fleet` as values. The schema has accepted every text.
import type { CanaryChoice, FleetSettings, Share } from '../../model/fleet.ts'
import type { Settings } from '../reading/trust-file.ts'

export function convertFleet(
  { touchesPerSecond, startupTaint, nodeLabels, wakePods, rollout }: Settings['fleet'],
  ms: (pointer: string, text: string) => number,
): FleetSettings {
  return {
    touchesPerSecond,
    startupTaint,
    nodeLabels,
    wakePods,
    rollout: {
      canary: canaryOf(rollout.canary),
      maxUnavailable: shareOf(rollout.maxUnavailable),
      soakMs: ms('/fleet/rollout/soak', rollout.soak),
      haltAfter: rollout.haltAfter,
    },
  }
}

function shareOf(value: number | string): Share {
  if (typeof value === 'number') return { kind: 'count', count: value }
  return { kind: 'percent', percent: Number.parseInt(value, 10) }
}

function canaryOf(value: number | string): CanaryChoice {
  if (typeof value === 'number' || !value.includes('=')) return shareOf(value)
  const labels = value.split(',').map((label) => label.split('=', 2) as [string, string])
  return { kind: 'selector', labels: Object.fromEntries(labels) }
}
