// One daemon that lives through many changes of its configuration: what it holds in memory, in open files and on the
// disk is read on the way, one line of JSON a sample. The node is a scratch root in memory, and the runtime a stand-in
// that answers every pull (test/fixtures/scratch/scratch-runtime.ts): everything else is the agent's own. A run that
// fails ends it with that run's error.
// usage: node --expose-gc scripts/benchmark/growth-subject.ts --runs N
import { readdirSync, readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { CERTS_D, STATE } from '../../test/fixtures/scratch/scratch-runtime.ts'
import { scratchNode } from './scratch-node.ts'

export type GrowthSample = {
  readonly runs: number
  readonly heapMiB: number
  readonly anonMiB: number
  readonly openFiles: number
  /** Timers, sockets, watches and whatever else keeps the event loop alive. */
  readonly handles: number
  /** Files in the folder of the agent's state. */
  readonly stateFiles: number
}

const REGISTRIES = 200
/** So many hosts take turns in being one of the two hundred. */
const POOL = 260
const ANCHORS = 10
/** The start of a thread takes longer than the run that follows it. */
const THREAD_EVERY = 25
const SAMPLES = 20
const PATIENCE_MS = 60_000
const POLL_MS = 1

const { values } = parseArgs({ options: { runs: { type: 'string', default: '400' } } })
const total = Number(values.runs)
const node = await scratchNode({ registries: REGISTRIES, anchors: ANCHORS, pauses: false, threadEvery: THREAD_EVERY })
const outcomes = new Map<string, number>()
/** What the last run that ended had loaded. */
let loaded = 0
let failure: string | undefined
try {
  const { loop, stop } = await node.startDaemon((run) => {
    loaded = node.loads()
    outcomes.set(run.outcome, (outcomes.get(run.outcome) ?? 0) + 1)
    if (run.error !== undefined) failure = `${run.outcome}: ${run.error.code} ${run.error.message}`
  })
  const every = Math.max(1, Math.floor(total / SAMPLES))
  for (let change = 1; change <= total; change++) {
    await node.publish(configuration(change))
    if (change % 10 === 5) await rm(join(node.root, CERTS_D, host(change), 'ca.crt'), { force: true })
    // A run that is under way may have loaded what was there before.
    const before = node.loads()
    const since = performance.now()
    loop.poke()
    while (loaded <= before) {
      if (performance.now() - since > PATIENCE_MS) throw new Error(`no run follows change ${change}`)
      await sleep(POLL_MS)
    }
    if (failure !== undefined) throw new Error(`after change ${change}: ${failure}`)
    if (change % every === 0) console.log(JSON.stringify(sample(change)))
  }
  await stop()
  console.log(JSON.stringify({ outcomes: Object.fromEntries(outcomes) }))
} catch (error) {
  // Told before the node is taken away under a daemon that still runs.
  console.error(error)
  process.exitCode = 1
} finally {
  await node.dispose()
}
process.exit()

function host(index: number): string {
  return `r${index % POOL}.registries.test`
}

/** One host leaves, one comes, a few take another anchor, all do now and then; each tenth file is no valid one. */
function configuration(change: number): string {
  if (change % 10 === 0) return `registries: [{host: "${host(change)}", anchors: [nobody-${change}]}]`
  const turn = Math.floor(change / 50)
  return JSON.stringify({
    anchors: Object.fromEntries(
      Array.from({ length: ANCHORS }, (_, index) => [`anchor-${index}`, { file: `ca-${index}.pem` }]),
    ),
    registries: Array.from({ length: REGISTRIES }, (_, index) => {
      const moved = index % 50 === change % 50 ? change : turn
      return { host: host(change + index), anchors: [`anchor-${(change + index + moved) % ANCHORS}`] }
    }),
  })
}

function sample(change: number): GrowthSample {
  globalThis.gc?.()
  const anon = /^RssAnon:\s*(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]
  return {
    runs: change,
    heapMiB: process.memoryUsage().heapUsed / 2 ** 20,
    anonMiB: Number(anon) / 1024,
    openFiles: readdirSync('/proc/self/fd').length,
    handles: process.getActiveResourcesInfo().length,
    stateFiles: readdirSync(join(node.root, STATE), { recursive: true }).length,
  }
}
