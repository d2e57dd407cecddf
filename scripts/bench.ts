// The benchmark: each part measures one promise on real nodes. A measurement whose result is wrong ends the run.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { cpus, loadavg, totalmem } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { findGenerations, fixturesUnavailable, type Generation } from '../test/fixtures/node/generations.ts'
import { measureDrift } from './benchmark/drift.ts'
import { measureGrowth } from './benchmark/growth.ts'
import { measureIdle } from './benchmark/idle.ts'
import { measureImage } from './benchmark/image.ts'
import { measureApply, measureDaemon, measureGap, type Setting } from './benchmark/install.ts'
import { keep, type Machine, type Measured } from './benchmark/measured.ts'
import { keepRatios, measureRatios, type Pairs, ratioRows, regressions } from './benchmark/ratio.ts'
import { measureRotation } from './benchmark/rotation.ts'
import { measureScale } from './benchmark/scale.ts'
import { formatSummary, type Summary, summarize } from './benchmark/statistics.ts'
import { measureStorm } from './benchmark/storm.ts'
import { formatRows, type Row } from './benchmark/table.ts'
import { measuredPages } from './measured-pages.ts'

type Part = (
  setting: Setting,
  options: { readonly newest: Generation; readonly idleSeconds: number },
) => Promise<readonly Row[]>

const ROOT = join(import.meta.dirname, '..')
/** Of the last run on this machine; not part of the sources. */
const KEPT = join(ROOT, 'dist/bench.json')

const PARTS: { readonly [name: string]: Part } = {
  apply: async (setting) => [...(await measureApply(setting, 'unset')), ...(await measureApply(setting, 'set'))],
  daemon: async (setting) => [...(await measureDaemon(setting, 'unset')), ...(await measureDaemon(setting, 'set'))],
  gap: (setting) => measureGap(setting),
  rotation: ({ bundle, runs }, { newest }) => measureRotation(newest, bundle, runs * 2),
  idle: ({ bundle }, { newest, idleSeconds }) => measureIdle(newest, bundle, idleSeconds),
  drift: ({ bundle, runs }, { newest }) => measureDrift(newest, bundle, runs * 3),
  storm: ({ bundle }, { newest }) => measureStorm(newest, bundle),
  ratio: async ({ bundle, runs }, { newest }) => {
    const measured = await measureRatios(newest, bundle, runs)
    const text = await readFile(KEPT, 'utf8').catch(() => '[]')
    for (const line of regressions(measured, JSON.parse(text) as readonly Pairs[])) console.error(`SLOWER: ${line}`)
    await keepRatios(KEPT, measured)
    return ratioRows(measured)
  },
  scale: async ({ bundle }, { newest }) => [
    ...(await measureScale(newest, bundle, { registries: 100, anchors: 50 })),
    ...(await measureScale(newest, bundle, { registries: 1_000, anchors: 500 })),
  ],
}

/**
 * Run only when they are asked for by name: growth takes an hour and more (`--runs` is the number of changes), and image
 * builds one.
 */
const ON_DEMAND: { readonly [name: string]: Part } = {
  growth: ({ runs }) => measureGrowth(runs),
  image: () => measureImage(),
}
const ALL = { ...PARTS, ...ON_DEMAND }

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: Object.keys(PARTS).join(',') },
    runs: { type: 'string', default: '5' },
    generation: { type: 'string', multiple: true },
    bundle: { type: 'string', default: join(ROOT, 'dist/registry-trust.cjs') },
    'idle-seconds': { type: 'string', default: '30' },
    keep: { type: 'string' },
  },
})
const unavailable = fixturesUnavailable()
if (unavailable !== undefined) throw new Error(unavailable)
const names = values.only.split(',')
const unknown = names.filter((name) => ALL[name] === undefined)
if (unknown.length > 0)
  throw new Error(`no part is called ${unknown.join(', ')}; there are ${Object.keys(ALL).join(', ')}`)
const generations = findGenerations().found.filter(({ label }) => values.generation?.includes(label) ?? true)
const newest = generations.at(-1)
if (newest === undefined) throw new Error('no containerd to measure on')

const setting = { generations, bundle: values.bundle, runs: Number(values.runs) }
const began = performance.now()
const rows: Row[] = []
for (const name of names) {
  process.stderr.write(`measuring ${name} …\n`)
  const alone = yardstick()
  const measured = (await ALL[name]?.(setting, { newest, idleSeconds: Number(values['idle-seconds']) })) ?? []
  rows.push({ what: `${name}; meanwhile Node.js alone starts in`, measured: formatSummary(alone) }, ...measured)
  // After each part, so that a run that is cut off has not lost the parts before.
  if (values.keep !== undefined) await keepIn(values.keep, name, measured, alone)
}
// The pages quote that file.
if (values.keep !== undefined && resolve(values.keep) === join(ROOT, 'docs/measured.json'))
  for (const [path, page] of measuredPages()) await writeFile(join(ROOT, path), page)
console.log(formatRows(rows))
const [load = 0] = loadavg()
console.log(
  `\nmedian [min, p95] of n runs; ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB, load ${load.toFixed(1)} at the end, Node.js ${process.versions.node}; ` +
    `took ${Math.round((performance.now() - began) / 1000)} s`,
)
process.exit(0)

/** Tells how busy the machine is with other work: numbers are compared only where this one is the same. */
function yardstick(): Summary {
  const times = Array.from({ length: 9 }, () => {
    const since = performance.now()
    spawnSync(process.execPath, ['--eval', '0'])
    return performance.now() - since
  })
  return summarize(times)
}

async function keepIn(path: string, part: string, measured: readonly Row[], alone: Summary): Promise<void> {
  const before = await readFile(path, 'utf8').catch(() => undefined)
  const origin = {
    date: new Date().toISOString().slice(0, 10),
    command: `./scripts/bench --only ${part} --runs ${setting.runs}`,
    node: process.versions.node,
    yardstickMs: Math.round(alone.median),
  }
  const kept = keep(measured, origin, machine(), before === undefined ? undefined : (JSON.parse(before) as Measured))
  await writeFile(path, `${JSON.stringify(kept, null, 2)}\n`)
}

function machine(): Machine {
  const system = /^PRETTY_NAME="(.*)"$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'Linux'
  return { cores: cpus().length, memoryGiB: Math.round(totalmem() / 2 ** 30), system }
}
