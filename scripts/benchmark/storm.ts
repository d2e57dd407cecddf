// Ten thousand file events within ten seconds in a folder that the daemon watches, and real damage in the midst of them: the end
// state is right, and the price is known.
import { appendFileSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Generation } from '../../test/node/generations.ts'
import { round } from './statistics.ts'
import { cpuMs, HOST, HOST_FOLDER, memoryOf, Subject } from './subject.ts'
import type { Row } from './table.ts'

const EVENTS = 10_000
const SECONDS = 10
const STEP_MS = 10
const FOREIGN = '/etc/containerd/certs.d/busy.example.net'

export async function measureStorm(generation: Generation, bundle: string): Promise<readonly Row[]> {
  const subject = await Subject.start(generation, 'set', bundle)
  try {
    await subject.publish({ registries: [{ host: HOST, ca: 'ca.pem' }] }, subject.authority.pem)
    const daemon = await subject.startDaemon()
    await subject.untilPullWorks(performance.now())
    await sleep(1_000)
    const reconciles = 'registry_trust_reconcile_total'
    const [runsBefore, cpuBefore] = [await subject.counter(reconciles), await cpuMs(subject, daemon.pid)]
    const before = await memoryOf(subject, daemon.pid)
    await storm(subject)
    const ca = subject.node.path(`${HOST_FOLDER}/ca.crt`)
    const healed = await subject.until(() => existsSync(ca), performance.now(), 2)
    await sleep(1_000)
    const memory = await memoryOf(subject, daemon.pid)
    const cpu = (await cpuMs(subject, daemon.pid)) - cpuBefore
    const runs = (await subject.counter(reconciles)) - runsBefore
    const state = await subject.state()
    if (state !== 'converged') throw new Error(`after the storm the node is ${state}`)
    if (!(await subject.node.pull(subject.registry.reference())).ok)
      throw new Error('after the storm the pull does not work')
    return [
      {
        what: `${EVENTS} file events in ${SECONDS} s: runs of the agent`,
        measured: `${runs}`,
        target: 'bounded, end state right',
      },
      { what: '  CPU used', measured: `${round(cpu)} ms` },
      {
        what: '  memory',
        measured: `${round(before.rssMiB)} → ${round(memory.rssMiB)} MiB RSS, peak ${round(memory.peakRssMiB)}`,
      },
      { what: '  damage in the midst, healed after the storm', measured: `${round(healed)} ms` },
    ]
  } finally {
    await subject.dispose()
  }
}

/** Another tool's host directory is written, grown, and removed again and again; the last act deletes our CA. */
async function storm(subject: Subject): Promise<void> {
  const folder = subject.node.path(FOREIGN)
  const file = `${folder}/hosts.toml`
  mkdirSync(folder)
  const began = performance.now()
  for (let event = 0; event < EVENTS; ) {
    const due = Math.min(EVENTS, Math.ceil(((performance.now() - began) / (SECONDS * 1000)) * EVENTS))
    for (; event < due; event++) act(file, event)
    await sleep(STEP_MS)
  }
  rmSync(folder, { recursive: true })
  rmSync(subject.node.path(`${HOST_FOLDER}/ca.crt`))
}

function act(file: string, event: number): void {
  if (event % 3 === 0) writeFileSync(file, 'server = "https://busy.example.net"\n')
  else if (event % 3 === 1) appendFileSync(file, '# busy\n')
  else rmSync(file)
}
