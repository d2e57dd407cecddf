// Ten thousand file events within ten seconds in a folder that the daemon watches, and real damage in the midst of
// them: the end state is right, and the price is known.
import { appendFileSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Generation } from '../../test/fixtures/node/generations.ts'
import { cpuMs, HOST, HOST_FOLDER, type MemoryUse, memoryOf, Subject } from './subject.ts'
import { type Row, series } from './table.ts'

const EVENTS = 10_000
const SECONDS = 10
const STEP_MS = 10
const STORM = `${EVENTS} file events in ${SECONDS} s`
const FOREIGN = '/etc/containerd/certs.d/busy.example.net'

/** What a storm costs; `healedMs` counts from the last event, `runs` and `cpuMs` from the first. */
export type Storm = {
  readonly runs: number
  readonly cpuMs: number
  readonly healedMs: number
  readonly before: MemoryUse
  readonly after: MemoryUse
}

export async function measureStorm(generation: Generation, bundle: string): Promise<readonly Row[]> {
  const { runs, cpuMs, healedMs, before, after } = await runStorm(generation, bundle)
  return [
    series({
      id: 'storm-runs',
      what: `${STORM}: runs of the agent`,
      values: [runs],
      unit: 'runs',
      target: 'bounded, end state right',
    }),
    series({ id: 'storm-cpu', what: `${STORM}: CPU`, values: [cpuMs] }),
    series({ id: 'storm-before', what: `${STORM}: resident before`, values: [before.rssMiB], unit: 'MiB' }),
    series({ id: 'storm-after', what: `${STORM}: resident after`, values: [after.rssMiB], unit: 'MiB' }),
    series({ id: 'storm-peak', what: `${STORM}: resident at most`, values: [after.peakRssMiB], unit: 'MiB' }),
    series({ id: 'storm-healed', what: `${STORM}: damage in the midst, healed after the last`, values: [healedMs] }),
  ]
}

/** @throws Error when the node is not as it should be at the end. */
export async function runStorm(generation: Generation, bundle: string): Promise<Storm> {
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
    const healedMs = await subject.until(() => existsSync(ca), performance.now(), 2)
    await sleep(1_000)
    const after = await memoryOf(subject, daemon.pid)
    const spentMs = (await cpuMs(subject, daemon.pid)) - cpuBefore
    const runs = (await subject.counter(reconciles)) - runsBefore
    const state = await subject.state()
    if (state !== 'converged') throw new Error(`after the storm the node is ${state}`)
    if (!(await subject.node.pull(subject.registry.reference())).ok)
      throw new Error('after the storm the pull does not work')
    return { runs, cpuMs: spentMs, healedMs, before, after }
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
