// Does the daemon grow with the number of changes it has lived through? The samples of its second quarter are compared
// with those of its last: by then everything that is loaded once is loaded.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { GrowthSample } from './growth-subject.ts'
import { summarize } from './statistics.ts'
import { type Row, series } from './table.ts'

/** How much more the end may hold than the beginning, and still be called no growth. */
const MARGIN: { readonly [key in Held]: number } = {
  heapMiB: 1.05,
  anonMiB: 1.1,
  openFiles: 1,
  handles: 1,
  stateFiles: 1.05,
}
const WHAT: { readonly [key in Held]: string } = {
  heapMiB: 'JavaScript heap',
  anonMiB: 'memory of its own',
  openFiles: 'open files',
  handles: 'handles of the event loop',
  stateFiles: 'files of its state',
}

type Held = 'heapMiB' | 'anonMiB' | 'openFiles' | 'handles' | 'stateFiles'

/** @throws Error when the daemon holds more at the end, or a run did not end as its configuration asks. */
export async function measureGrowth(runs: number): Promise<readonly Row[]> {
  const { samples, outcomes } = await subject(runs)
  const grown = growth(samples)
  if (grown.length > 0) throw new Error(`${runs} runs: ${grown.join('; ')}`)
  if ((outcomes['applied'] ?? 0) < runs * 0.8 || outcomes['failed'] !== undefined)
    throw new Error(`not what was to be measured: ${JSON.stringify(outcomes)}`)
  const [, second = [], , last = []] = quarters(samples)
  return (Object.keys(WHAT) as Held[]).flatMap((key) =>
    (['second', 'last'] as const).map((quarter) =>
      series({
        id: `growth-${key}-${quarter}`,
        what: `${runs} changes of 200 registries: ${WHAT[key]}, ${quarter} quarter`,
        values: (quarter === 'second' ? second : last).map((one) => one[key]),
        unit: key.endsWith('MiB') ? 'MiB' : '',
      }),
    ),
  )
}

/** A sentence for each thing of which the last quarter holds more than the second. Pure. */
export function growth(samples: readonly GrowthSample[]): readonly string[] {
  const [, second = [], , last = []] = quarters(samples)
  return (Object.keys(MARGIN) as Held[]).flatMap((key) => {
    const [was, is] = [second, last].map((part) => summarize(part.map((one) => one[key])).median)
    if (was === undefined || is === undefined || is <= was * MARGIN[key]) return []
    return [`${WHAT[key]} grew from ${was.toFixed(1)} to ${is.toFixed(1)}`]
  })
}

function quarters<T>(all: readonly T[]): readonly (readonly T[])[] {
  const size = Math.floor(all.length / 4)
  if (size === 0) throw new Error('fewer than four samples tell nothing of growth')
  return [0, 1, 2, 3].map((index) => all.slice(index * size, (index + 1) * size))
}

type Told = { readonly samples: readonly GrowthSample[]; readonly outcomes: { readonly [outcome: string]: number } }

async function subject(runs: number): Promise<Told> {
  const flags = ['--expose-gc', '--max-semi-space-size=8']
  const argv = [...flags, join(import.meta.dirname, 'growth-subject.ts'), '--runs', String(runs)]
  const child = spawn(process.execPath, argv, {
    stdio: ['ignore', 'pipe', 'inherit'],
    // In memory, so that ten thousand runs do not wait for the disk of this machine.
    env: { ...process.env, MALLOC_ARENA_MAX: '1', ...(existsSync('/dev/shm') ? { TMPDIR: '/dev/shm' } : {}) },
  })
  const ended = new Promise<number | null>((resolve) => void child.on('close', resolve))
  const samples: GrowthSample[] = []
  let outcomes: Told['outcomes'] = {}
  for await (const line of createInterface({ input: child.stdout })) {
    const told = JSON.parse(line) as GrowthSample | { readonly outcomes: Told['outcomes'] }
    if ('outcomes' in told) outcomes = told.outcomes
    else {
      samples.push(told)
      process.stderr.write(`${line}\n`)
    }
  }
  const code = await ended
  if (code !== 0) throw new Error(`the subject of the growth ended with ${code}`)
  return { samples, outcomes }
}
