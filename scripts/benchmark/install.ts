// From the decision to a pull that works: `apply` on a fresh node, and the running daemon that is given its first
// registry. With config_path unset one restart of containerd is in it, with config_path set none.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Generation } from '../../test/fixtures/node/generations.ts'
import { RIVALS } from './rivals.ts'
import { type ApplyReport, type ConfigPath, HOST, Subject } from './subject.ts'
import { type Row, series } from './table.ts'

const GAP_POLL_MS = 5
/** A daemon that has just started looks once more as soon as its watches are in place. */
const AT_REST_MS = 1_000
const TRUST = { registries: [{ host: HOST, ca: 'ca.pem' }] }
const TARGET = { unset: '650 ms', set: '200 ms' } as const

export type Setting = { readonly generations: readonly Generation[]; readonly bundle: string; readonly runs: number }

export async function measureApply(
  { generations, bundle, runs }: Setting,
  configPath: ConfigPath,
): Promise<readonly Row[]> {
  const rows: Row[] = []
  for (const generation of generations) {
    const times: number[] = []
    const rehearsals: number[] = []
    const pulls: number[] = []
    for (let run = 0; run < runs; run++) {
      await onNode(generation, configPath, bundle, async (subject) => {
        await subject.publish(TRUST, subject.authority.pem)
        const since = performance.now()
        const [report, time] = await Promise.all([subject.apply(), subject.untilPullWorks(since)])
        expect(report, configPath)
        times.push(time)
        rehearsals.push(report.rehearsal?.durationMs ?? Number.NaN)
        pulls.push(await subject.timeOfAnotherPull())
      })
    }
    const on = generation.version
    rows.push(
      series({
        id: `apply-${configPath}`,
        what: `\`apply\` → pull works, ${words(configPath)}`,
        on,
        values: times,
        target: TARGET[configPath],
        rivals: configPath === 'unset' ? RIVALS.restart : RIVALS.noRestart,
      }),
      series({
        id: `apply-${configPath}-pull`,
        what: '  of it the pull itself, with unpacking',
        on,
        values: pulls,
      }),
      series({
        id: `apply-${configPath}-rehearsal`,
        what: '  of it the rehearsal',
        on,
        values: rehearsals,
        rivals: 'none has one',
      }),
    )
  }
  return rows
}

export async function measureDaemon(
  { generations, bundle, runs }: Setting,
  configPath: ConfigPath,
): Promise<readonly Row[]> {
  const rows: Row[] = []
  for (const generation of generations) {
    const times: number[] = []
    for (let run = 0; run < runs; run++) {
      await onNode(generation, configPath, bundle, async (subject) => {
        await subject.publish({ registries: [] }, subject.authority.pem)
        await subject.startDaemon()
        await subject.until(async () => (await subject.state()) === 'converged', performance.now(), 20)
        await sleep(AT_REST_MS)
        const since = performance.now()
        await subject.publish(TRUST, subject.authority.pem)
        times.push(await subject.untilPullWorks(since))
      })
    }
    rows.push(
      series({
        id: `daemon-${configPath}`,
        what: `ConfigMap change → pull works, ${words(configPath)}`,
        on: generation.version,
        values: times,
        target: TARGET[configPath],
        rivals: configPath === 'unset' ? RIVALS.restart : RIVALS.noRestart,
      }),
    )
  }
  return rows
}

/** How long CRI does not answer while containerd is restarted. */
export async function measureGap({ generations, bundle, runs }: Setting): Promise<readonly Row[]> {
  const rows: Row[] = []
  for (const generation of generations) {
    const gaps: number[] = []
    for (let run = 0; run < runs; run++) {
      await onNode(generation, 'unset', bundle, async (subject) => {
        await subject.publish(TRUST, subject.authority.pem)
        const applied = subject.apply()
        gaps.push(await subject.longestGap(applied, GAP_POLL_MS))
        expect(await applied, 'unset')
      })
    }
    rows.push(
      series({
        id: 'gap',
        what: 'CRI does not answer during the restart',
        on: generation.version,
        values: gaps,
        rivals: RIVALS.gap,
      }),
    )
  }
  return rows
}

async function onNode(
  generation: Generation,
  configPath: ConfigPath,
  bundle: string,
  measure: (subject: Subject) => Promise<void>,
): Promise<void> {
  const subject = await Subject.start(generation, configPath, bundle)
  try {
    await measure(subject)
  } finally {
    await subject.dispose()
  }
}

/** A time without its check would be no result: the restart that was due was made, and the rehearsal passed. */
function expect(report: ApplyReport, configPath: ConfigPath): void {
  const restarts = configPath === 'unset' ? 1 : 0
  if (report.outcome === 'applied' && report.restarts.length === restarts && report.rehearsal?.verdict === 'passed')
    return
  throw new Error(`not what was to be measured: ${JSON.stringify(report)}`)
}

function words(configPath: ConfigPath): string {
  return configPath === 'unset' ? 'one restart' : 'no restart'
}
