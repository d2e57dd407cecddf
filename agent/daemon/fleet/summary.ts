// The node's status in short, for GET /status/summary: it stays within its size whatever is wrong, by naming fewer
// registries. Pure.

import type { GrantReport, PullReport } from '../../model/fleet.ts'
import type { NodeStatus } from '../../model/status.ts'
import { type NodeSummary, SUMMARY_BYTES, SUMMARY_BYTES_A_REGISTRY } from '../../model/summary.ts'
import { isTrusted } from '../../model/verdict.ts'
import { WAITS_FOR_GRANT } from '../../reconcile/restart/grant.ts'

export type SummaryFacts = {
  readonly config: string
  readonly grant: GrantReport | null
  readonly runtimeReady: boolean
  readonly uptimeSeconds: number
  readonly pulls?: readonly PullReport[]
}

export function summaryOf(
  status: NodeStatus,
  { config, grant, runtimeReady, uptimeSeconds, pulls }: SummaryFacts,
): NodeSummary {
  const { restart, registries, problems } = status
  const bad = registries.filter((one) => !isTrusted(one))
  const listed = bad.map(({ host, finding }) => ({ host: clip(host, 253), code: finding.code }))
  const bare: NodeSummary = {
    node: clip(status.node, 253),
    version: clip(status.version, 40),
    containerd: status.containerd.version === null ? null : clip(status.containerd.version, 40),
    generation: status.generation,
    config,
    state: status.state,
    registries: registries.length,
    untrusted: [],
    untrustedMore: bad.length,
    drift: status.drift.length,
    problem: problems[0]?.code ?? null,
    runtimeReady,
    restart: {
      pending: restart.pending,
      awaitsGrant: restart.reason?.startsWith(WAITS_FOR_GRANT) === true,
      reason: restart.reason === null ? null : clip(restart.reason, 120),
      last: restart.last === null ? null : { at: restart.last.at, result: restart.last.result },
    },
    grant,
    ...(pulls && { pulls }),
    uptimeSeconds,
  }
  let room = SUMMARY_BYTES + SUMMARY_BYTES_A_REGISTRY * registries.length - sizeOf(bare)
  let fit = 0
  for (const one of listed) {
    room -= sizeOf(one) + 1
    if (room < 0) break
    fit += 1
  }
  return { ...bare, untrusted: listed.slice(0, fit), untrustedMore: bad.length - fit }
}

function sizeOf(value: object): number {
  return Buffer.byteLength(JSON.stringify(value))
}

function clip(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1)}…`
}
