// Ours beside the least that could be done, and beside what is usually done: fresh nodes by turns, so that a busy minute
// meets both, and a ratio for each pair.
import { writeFile } from 'node:fs/promises'
import type { Generation } from '../../test/fixtures/node/generations.ts'
import { round, summarize } from './statistics.ts'
import { type ConfigPath, HOST, HOST_FOLDER, Subject } from './subject.ts'
import type { Row } from './table.ts'

export type Pairs = {
  readonly what: string
  readonly ours: readonly number[]
  readonly theirs: readonly number[]
}

/** Writes the same files as the agent, checks nothing, remembers nothing, and syncs nothing. */
const FLOOR = [
  `mkdir -p ${HOST_FOLDER}`,
  `cp /etc/registry-trust/ca.pem ${HOST_FOLDER}/ca.crt`,
  `printf 'server = "https://${HOST}"\\nca = "ca.crt"\\n\\n[host]\\n' > ${HOST_FOLDER}/hosts.toml`,
].join(' && ')

/** What install guides say; containerd reads the system store once, so it has to be restarted. */
const USUAL = [
  'cp /etc/registry-trust/ca.pem /usr/local/share/ca-certificates/corp.crt',
  'update-ca-certificates >/dev/null',
  'systemctl restart containerd',
].join(' && ')

export async function measureRatios(generation: Generation, bundle: string, runs: number): Promise<readonly Pairs[]> {
  const floor = await pairs('apply, no restart, beside the floor', FLOOR, 'set', { generation, bundle, runs })
  const usual = await pairs('apply, one restart, beside the usual', USUAL, 'unset', { generation, bundle, runs })
  return [floor, usual]
}

type Setting = { readonly generation: Generation; readonly bundle: string; readonly runs: number }

async function pairs(what: string, script: string, path: ConfigPath, setting: Setting): Promise<Pairs> {
  const [ours, theirs]: [number[], number[]] = [[], []]
  for (let run = 0; run < setting.runs; run++) {
    // Who begins changes with each pair.
    const order = run % 2 === 0 ? (['ours', 'theirs'] as const) : (['theirs', 'ours'] as const)
    for (const who of order) {
      const ms = await once(who === 'ours' ? undefined : script, path, setting)
      ;(who === 'ours' ? ours : theirs).push(ms)
    }
  }
  return { what, ours, theirs }
}

/** Milliseconds from the start of the program to a pull that works, on a node of its own. */
async function once(script: string | undefined, path: ConfigPath, { generation, bundle }: Setting): Promise<number> {
  const subject = await Subject.start(generation, path, bundle)
  try {
    await subject.publish({ registries: [{ host: HOST, ca: 'ca.pem' }] }, subject.authority.pem)
    const since = performance.now()
    const work =
      script === undefined ? subject.apply() : subject.node.start(['/bin/sh', '-c', script]).then((it) => it.exited)
    const [done, ms] = await Promise.all([work, subject.untilPullWorks(since)])
    const isDone = typeof done === 'object' ? done.outcome === 'applied' : done === 0
    if (!isDone) throw new Error(`not what was to be measured: ${JSON.stringify(done)}`)
    return ms
  } finally {
    await subject.dispose()
  }
}

export function ratioRows(all: readonly Pairs[]): readonly Row[] {
  return all.map(({ what, ours, theirs }) => {
    const [mine, other] = [summarize(ours), summarize(theirs)]
    const ratio = summarize(ours.map((ms, index) => ms / (theirs[index] ?? Number.NaN)))
    const id = what.includes('floor') ? 'floor' : 'usual'
    return {
      what,
      kept: [
        { id: `ratio-${id}-ours`, name: `${what}: the agent`, unit: 'ms', summary: mine },
        { id: `ratio-${id}-theirs`, name: `${what}: the ${id}`, unit: 'ms', summary: other },
        { id: `ratio-${id}`, name: `${what}: ratio, pair by pair`, unit: '', summary: ratio },
      ],
      measured: `${round(mine.median)} ms [p95 ${round(mine.p95)}] against ${round(other.median)} ms [p95 ${round(other.p95)}]`,
      rivals: `ratio, pair by pair: ${round(ratio.median)} [min ${round(ratio.min)}, p95 ${round(ratio.p95)}] n=${ratio.n}`,
    }
  })
}

/** What the next run on this machine is compared with. */
export async function keepRatios(path: string, all: readonly Pairs[]): Promise<void> {
  await writeFile(path, `${JSON.stringify(all, null, 1)}\n`)
}

/** A line for each median that is more than a tenth above the one that was kept. */
export function regressions(all: readonly Pairs[], kept: readonly Pairs[]): readonly string[] {
  return all.flatMap(({ what, ours }) => {
    const before = kept.find((one) => one.what === what)
    if (before === undefined) return []
    const [now, then] = [summarize(ours).median, summarize(before.ours).median]
    return now <= then * 1.1 ? [] : [`${what}: ${round(now)} ms, was ${round(then)} ms`]
  })
}
