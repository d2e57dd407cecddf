// What the daemon costs while nothing happens, beside a Node.js of the same version that does nothing at all.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Generation } from '../../test/fixtures/node/generations.ts'
import { RIVALS } from './rivals.ts'
import { HOST, idleCpuMs, memoryOf, Subject } from './subject.ts'
import { type Row, series } from './table.ts'

/** What follows a start is no idling: the restarter looks often for ten seconds. */
const SETTLE_MS = 15_000
const READY_POLL_MS = 2
const STARTS = 8

export async function measureIdle(
  generation: Generation,
  bundle: string,
  idleSeconds: number,
): Promise<readonly Row[]> {
  const subject = await Subject.start(generation, 'set', bundle)
  try {
    await subject.publish({ registries: [{ host: HOST, ca: 'ca.pem' }] }, subject.authority.pem)
    await subject.apply()
    const starts: number[] = []
    for (let run = 0; run < STARTS; run++) {
      const since = performance.now()
      const started = await subject.startDaemon()
      starts.push(await subject.until(() => subject.isReady(), since, READY_POLL_MS))
      await started.stop()
    }
    const daemon = await subject.startDaemon()
    const bare = await subject.node.start([process.execPath, '--eval', 'setInterval(() => {}, 1 << 30)'])
    await subject.until(() => subject.isReady(), performance.now(), 50)
    await sleep(SETTLE_MS)
    const before = await idleCpuMs(subject, daemon.pid)
    await sleep(idleSeconds * 1000)
    const cpu = ((await idleCpuMs(subject, daemon.pid)) - before) * (60 / idleSeconds)
    const ours = await memoryOf(subject, daemon.pid)
    const floor = await memoryOf(subject, bare.pid)
    await daemon.stop()
    const containers = await measureContainers(subject, idleSeconds)
    return [
      series({
        id: 'ready',
        what: 'start of the daemon → `/readyz` 200, nothing to change',
        values: starts,
        target: '250 ms',
      }),
      series({
        id: 'idle-resident',
        what: 'idle daemon, resident memory',
        values: [ours.rssMiB],
        unit: 'MiB',
        rivals: RIVALS.memory,
      }),
      series({ id: 'idle-own', what: 'idle daemon, memory of its own', values: [ours.anonMiB], unit: 'MiB' }),
      series({ id: 'node-resident', what: 'Node.js alone, resident memory', values: [floor.rssMiB], unit: 'MiB' }),
      series({ id: 'node-own', what: 'Node.js alone, memory of its own', values: [floor.anonMiB], unit: 'MiB' }),
      series({
        id: 'idle-cpu',
        what: `idle daemon, CPU a minute, over ${idleSeconds} s`,
        values: [cpu],
        rivals: RIVALS.idle,
      }),
      ...containers,
    ]
  } finally {
    await subject.dispose()
  }
}

/** All containers of profile `full` as they are started there: the agent and its sidecar. */
async function measureContainers(subject: Subject, idleSeconds: number): Promise<readonly Row[]> {
  const { agent, sidecar } = await subject.startContainers()
  await subject.until(() => subject.isReady(), performance.now(), 50)
  await sleep(SETTLE_MS)
  const pids = [agent.pid, sidecar.pid]
  const cpuOfAll = async () => (await Promise.all(pids.map((pid) => idleCpuMs(subject, pid)))).reduce((a, b) => a + b)
  const before = await cpuOfAll()
  await sleep(idleSeconds * 1000)
  const cpu = ((await cpuOfAll()) - before) * (60 / idleSeconds)
  const [ours, beside] = [await memoryOf(subject, agent.pid), await memoryOf(subject, sidecar.pid)]
  const row = (id: string, what: string, value: number, unit: string) => series({ id, what, values: [value], unit })
  return [
    row('sidecar-own', 'idle sidecar of profile `full`, memory of its own', beside.anonMiB, 'MiB'),
    row('sidecar-resident', 'idle sidecar of profile `full`, resident memory', beside.rssMiB, 'MiB'),
    row('full-own', 'all containers of profile `full`, memory of their own', ours.anonMiB + beside.anonMiB, 'MiB'),
    row('full-resident', 'all containers of profile `full`, resident memory', ours.rssMiB + beside.rssMiB, 'MiB'),
    row('full-cpu', `all containers of profile \`full\`, CPU a minute, over ${idleSeconds} s`, cpu, 'ms'),
  ]
}
