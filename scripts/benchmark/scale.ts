// A thousand registries and five hundred anchors on a real containerd: the first apply with its rehearsal and proofs,
// one with nothing to do, and what a look of the daemon costs when nothing has changed.
import { chmod, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { issueServer } from '../../test/fixtures/node/certificates.ts'
import type { Generation } from '../../test/fixtures/node/generations.ts'
import { startRegistry } from '../../test/fixtures/node/registry.ts'
import { scaleAnchors } from './scale-config.ts'
import { cpuMs, HAS_MEMORY_CONTROLLER, MANIFEST_LIMIT_MIB, memoryOf, Subject } from './subject.ts'
import { type Row, series } from './table.ts'

const SETTLE_MS = 20_000
const LOOKS = 20
/** A look begins 20 ms after the event, and no sooner than 200 ms after the one before it. */
const BETWEEN_MS = 1_000

export const hostOf = (index: number) => `r${index}.registries.test`

export async function measureScale(
  generation: Generation,
  bundle: string,
  { registries, anchors }: { readonly registries: number; readonly anchors: number },
): Promise<readonly Row[]> {
  const subject = await Subject.start(generation, 'set', bundle)
  const { node, authority } = subject
  try {
    await subject.publish(await scaleTrustOf(subject, { registries, anchors }), authority.pem)
    const first = await timed(() => subject.apply())
    if (first.result.outcome !== 'applied')
      throw new Error(`not applied: ${JSON.stringify(first.result).slice(0, 500)}`)
    const again = await timed(() => subject.apply())
    if (again.result.outcome !== 'unchanged') throw new Error(`not unchanged: ${again.result.outcome}`)
    // As it is deployed: Node.js sizes its heap by the limit of its container.
    const daemon = await (HAS_MEMORY_CONTROLLER ? subject.startDaemonWithin(MANIFEST_LIMIT_MIB) : subject.startDaemon())
    await subject.until(() => subject.isReady(), performance.now(), 50)
    await sleep(SETTLE_MS)
    const before = await cpuMs(subject, daemon.pid)
    const touched = node.path(`/etc/containerd/certs.d/${hostOf(0)}/ca.crt`)
    for (let look = 0; look < LOOKS; look++) {
      await chmod(touched, 0o644)
      await sleep(BETWEEN_MS)
    }
    const look = ((await cpuMs(subject, daemon.pid)) - before) / LOOKS
    const { rssMiB, anonMiB, peakRssMiB } = await memoryOf(subject, daemon.pid)
    const size = `${registries} registries, ${anchors} anchors`
    const row = (name: string, what: string, value: number, unit = 'ms') =>
      series({ id: `scale-${registries}-${name}`, what: `${size}: ${what}`, values: [value], unit })
    return [
      row('apply', 'first `apply`', first.ms),
      row('nothing', '`apply` with nothing to do', again.ms),
      row('look', 'CPU of a look without change', look),
      row('resident', 'resident memory of the daemon', rssMiB, 'MiB'),
      row('own', 'memory of its own', anonMiB, 'MiB'),
      row('peak', 'resident memory at most', peakRssMiB, 'MiB'),
    ]
  } finally {
    await subject.dispose()
  }
}

type ScaleTrust = {
  readonly anchors: { readonly [name: string]: { readonly pem: string } }
  readonly registries: readonly { readonly host: string; readonly anchors: readonly string[] }[]
}

/** Registries that all are the one at `hostOf(0)`, and a trust.yaml for them; it names the node's CA as anchor-0. */
export async function scaleTrustOf(
  { node, authority }: Subject,
  { registries, anchors }: { readonly registries: number; readonly anchors: number },
): Promise<ScaleTrust> {
  const folder = join(node.scratch, 'pki-scale')
  await mkdir(folder)
  const certificate = await issueServer(authority, folder, ['*.registries.test'])
  const address = await node.newAddress()
  await startRegistry(node, { host: hostOf(0), address, certificate })
  for (let index = 0; index < registries; index++) await node.setHost(hostOf(index), address)
  const others = await scaleAnchors(anchors - 1)
  return {
    anchors: Object.fromEntries([authority.pem, ...others].map((pem, index) => [`anchor-${index}`, { pem }])),
    registries: Array.from({ length: registries }, (_, index) => ({
      host: hostOf(index),
      anchors: index % anchors === 0 ? ['anchor-0'] : ['anchor-0', `anchor-${index % anchors}`],
    })),
  }
}

async function timed<T>(work: () => Promise<T>): Promise<{ readonly ms: number; readonly result: T }> {
  const since = performance.now()
  const result = await work()
  return { ms: performance.now() - since, result }
}
