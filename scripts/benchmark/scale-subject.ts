// One size of configuration on a scratch root, without network and without containerd: what the agent itself costs.
// Runs in a process of its own, so that memory is this size's alone, and prints one line of JSON.
import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { applyRun, planRun } from '../../agent/reconcile/run/entry.ts'
import { SOCKET } from '../../test/fixtures/scratch/scratch-runtime.ts'
import { scratchNode } from './scratch-node.ts'

export type ScaleCost = {
  readonly registries: number
  readonly anchors: number
  /** Milliseconds of CPU, user and system, of all threads. */
  readonly plan: number
  readonly apply: number
  readonly noOp: number
  readonly look: number
  readonly rssMiB: number
  readonly anonMiB: number
}

const { values } = parseArgs({
  options: { registries: { type: 'string', default: '10' }, anchors: { type: 'string', default: '1' } },
})
const [registries, anchors] = [Number(values.registries), Number(values.anchors)]
const node = await scratchNode({ registries, anchors })
try {
  console.log(JSON.stringify(await measure()))
} finally {
  await node.dispose()
}
process.exit(0)

async function measure(): Promise<ScaleCost> {
  const { load, ports } = node
  const loaded = await load()
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.problems.slice(0, 3)))
  const options = { address: SOCKET, consentUnrehearsed: false, byHand: true }
  const plan = await cpuOf(async () => void (await planRun(loaded.desired, options, ports)))
  const apply = await cpuOf(async () => {
    const run = await applyRun(loaded.desired, options, ports)
    if (run.outcome !== 'applied') throw new Error(`${run.outcome}: ${run.error?.message}`)
  })
  const noOp = await cpuOf(async () => {
    const run = await applyRun(loaded.desired, options, ports)
    if (run.outcome !== 'unchanged') throw new Error(`not unchanged: ${run.outcome}`)
  })
  let runs = 0
  const { loop, stop } = await node.startDaemon(() => {
    runs += 1
  })
  while (runs < 1) await sleep(50)
  // The looks that follow when the watches stand.
  await atRest(() => runs)
  const looks = 3
  const look = await cpuOf(async () => {
    for (let index = 0; index < looks; index++) {
      const before = runs
      loop.poke()
      while (runs === before) await sleep(5)
      await sleep(250)
    }
  })
  const { rss } = process.memoryUsage()
  const anon = Number(/^RssAnon:\s*(\d+)/m.exec(await readFile('/proc/self/status', 'utf8'))?.[1])
  await stop()
  return { registries, anchors, plan, apply, noOp, look: look / looks, rssMiB: rss / 2 ** 20, anonMiB: anon / 1024 }
}

async function atRest(count: () => number): Promise<void> {
  for (let before = -1; before !== count(); ) {
    before = count()
    await sleep(1_500)
  }
}

async function cpuOf(work: () => Promise<void>): Promise<number> {
  const before = process.cpuUsage()
  await work()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000
}
