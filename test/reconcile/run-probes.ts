// A process of its own, run on a node: probes each registry that its standard input names and prints the reports as JSON.
// Input: [{registry, anchors: {NAME: PEM}, others: {NAME: PEM}, image, timeoutMs, neighbours: [REGISTRY]}]
import { text } from 'node:stream/consumers'
import { systemClock } from '../../agent/node/clock.ts'
import { nodeFiles } from '../../agent/node/files.ts'
import { tlsProbe } from '../../agent/node/tls.ts'
import { rootsInPem, SYSTEM } from '../../agent/pki/trusted-roots.ts'
import { probeRegistry } from '../../agent/reconcile/probe.ts'
import { readSystemRoots } from '../../agent/reconcile/system-roots.ts'
import type { ProbeOrder } from './probe-order.ts'

const orders = JSON.parse(await text(process.stdin)) as readonly ProbeOrder[]
const system = (await readSystemRoots(nodeFiles({ root: '/' }))).map((certificate) => ({ certificate, origin: SYSTEM }))
const ports = { tls: tlsProbe(), clock: systemClock() }

const rootsOf = (anchors: ProbeOrder['anchors'] = {}) =>
  Object.entries(anchors).flatMap(([origin, pem]) => rootsInPem(pem).map((certificate) => ({ certificate, origin })))

const reports = await Promise.all(
  orders.map(async ({ registry, anchors, others, image, timeoutMs = 10_000, neighbours = [] }) => {
    const trust = {
      isDeclared: anchors !== undefined,
      roots: [...rootsOf(anchors), ...system],
      otherAnchors: rootsOf(others),
    }
    const near = neighbours.map((one) => ({
      registry: one,
      trust: { isDeclared: true, roots: system, otherAnchors: [] },
    }))
    return await probeRegistry({ registry, trust, image, neighbours: near }, ports, { timeoutMs })
  }),
)
process.stdout.write(JSON.stringify(reports))
