// What the daemon costs while nothing happens, beside a Node.js of the same version that does nothing at all.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Generation } from '../../test/fixtures/node/generations.ts'
import { RIVALS } from './rivals.ts'
import { formatSummary, round, summarize } from './statistics.ts'
import { cpuMs, HOST, type MemoryUse, memoryOf, Subject } from './subject.ts'
import type { Row } from './table.ts'

const SETTLE_MS = 5_000
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
    const before = await cpuMs(subject, daemon.pid)
    await sleep(idleSeconds * 1000)
    const cpu = ((await cpuMs(subject, daemon.pid)) - before) * (60 / idleSeconds)
    const ours = await memoryOf(subject, daemon.pid)
    const floor = await memoryOf(subject, bare.pid)
    return [
      {
        what: 'daemon: start → /readyz 200, nothing to change',
        measured: formatSummary(summarize(starts)),
        target: '250 ms',
      },
      { what: 'daemon: memory, idle', measured: words(ours), rivals: RIVALS.memory },
      { what: '  Node.js alone', measured: words(floor) },
      {
        what: `daemon: CPU, idle, over ${idleSeconds} s`,
        measured: `${round(cpu)} ms per minute`,
        rivals: RIVALS.idle,
      },
    ]
  } finally {
    await subject.dispose()
  }
}

function words({ rssMiB, anonMiB }: MemoryUse): string {
  return `${round(rssMiB)} MiB RSS, ${round(anonMiB)} MiB of it anonymous`
}
