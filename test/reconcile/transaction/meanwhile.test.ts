// Others write while the agent is between its plan and the execution, where the rehearsal takes its time. The promise:
// whatever they write or remove by then, the node ends as if it had been there before the agent looked, so nothing of
// theirs is lost. A run takes a third of the situations, all with REGISTRY_TRUST_FULL=1.
import { existsSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import t from 'tap'
import { asAgentError } from '../../../agent/model/errors.ts'
import type { Run } from '../../../agent/model/run.ts'
import { treeOf } from '../../fixtures/scratch/carry-out.ts'
import { copyNode, layOut, scenes } from '../../fixtures/scratch/fault-scenes.ts'
import { perform } from '../../fixtures/scratch/perform.ts'
import { STATE, scratchPorts } from '../../fixtures/scratch/scratch-runtime.ts'
import { partOf } from '../../fixtures/turn.ts'

/** Hundreds of runs: what is made durable in memory waits for no disk. */
const FAST = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()

const LONG_AGO = new Date(Date.now() - 3_600_000)

type Tree = { readonly [path: string]: string }
type Write = (root: string, path: string) => void

const WRITES: { readonly [name: string]: Write } = {
  'somebody writes it': (root, path) => {
    const full = join(root, path)
    mkdirSync(dirname(full), { recursive: true })
    rmSync(full, { recursive: true, force: true })
    writeFileSync(full, '# theirs\n')
    // Fresh ones that are no bundle are waited for a while, should somebody be writing them still.
    utimesSync(full, LONG_AGO, LONG_AGO)
  },
  'somebody removes it': (root, path) => rmSync(join(root, path), { recursive: true, force: true }),
}

/** Each path meets one of them by turns; both with REGISTRY_TRUST_FULL=1. */
function writesFor(index: number): readonly (readonly [name: string, write: Write])[] {
  const all = Object.entries(WRITES)
  return process.env['REGISTRY_TRUST_FULL'] === '1' ? all : all.filter((_, turn) => turn === index % all.length)
}

/** What the run changes: written, replaced or removed. */
function changedPaths(before: Tree, after: Tree): readonly string[] {
  const all = new Set([...Object.keys(before), ...Object.keys(after)])
  return [...all].filter((path) => before[path] !== after[path])
}

/** How the run ended; the code where it could not even plan (a file in place of the folder of host directories). */
async function endOf(run: Promise<Run>): Promise<string> {
  return run.then(
    ({ outcome, error }) => `${outcome} ${error?.code ?? ''}`,
    (thrown) => `thrown ${asAgentError(thrown).code}`,
  )
}

/**
 * The real ports, with another writer (a fake in that it comes at exactly this time) between the plan and its
 * execution.
 */
function interrupted(root: string, write: () => void) {
  const ports = scratchPorts(root)
  let times = 0
  const once = () => {
    if (times === 0) write()
    times += 1
  }
  const runner: typeof ports.runner = {
    ...ports.runner,
    async start(options) {
      once()
      return ports.runner.start(options)
    },
  }
  const permit: typeof ports.permit = {
    async ask(question) {
      once()
      return ports.permit.ask(question)
    },
  }
  return { ports: { ...ports, runner, permit }, wasInterrupted: () => times > 0 }
}

/**
 * The same, with a writer that comes after the first change was made, whose path and its neighbourhood are left alone.
 */
function interruptedLater(root: string, path: string, write: () => void) {
  const ports = scratchPorts(root)
  let first: string | undefined
  const after = async (changed: string, done: Promise<void>) => {
    await done
    if (changed.startsWith(STATE) || first !== undefined) return
    first = changed
    if (!isNear(changed)) write()
  }
  const isNear = (changed: string) => `${changed}/`.startsWith(`${path}/`) || `${path}/`.startsWith(`${changed}/`)
  const files: typeof ports.files = {
    ...ports.files,
    put: (at, content, options) => after(at, ports.files.put(at, content, options)),
    putFolder: (at, content, options) => after(at, ports.files.putFolder(at, content, options)),
    removeFolder: (at, options) => after(at, ports.files.removeFolder(at, options)),
  }
  return { ports: { ...ports, files }, wasInterrupted: () => first !== undefined && !isNear(first) }
}

// The way back of a removal needs neither rehearsal nor restart: it never waits.
const waiting = scenes().filter(({ name }) => name !== 'rollback of a removal')
for (const scene of partOf(waiting, 3))
  t.test(scene.name, async (t) => {
    const folder = mkdtempSync(join(FAST, 'rt-meanwhile-'))
    t.teardown(() => rmSync(folder, { recursive: true, force: true }))
    const [start, clean, early, late] = ['start', 'clean', 'early', 'late'].map((name) => join(folder, name)) as [
      string,
      string,
      string,
      string,
    ]
    layOut(start)
    for (const step of scene.before) await perform(step, start)
    copyNode(start, clean)
    await perform(scene.act, clean)
    const paths = changedPaths(treeOf(start), treeOf(clean))
    t.not(paths.length, 0)
    let later = 0
    for (const [index, path] of paths.entries())
      for (const [name, write] of writesFor(index)) {
        for (const root of [early, late]) copyNode(start, root)
        write(early, path)
        const meant = await endOf(perform(scene.act, early))
        const { ports, wasInterrupted } = interrupted(late, () => write(late, path))
        const seen = await endOf(perform(scene.act, late, ports))
        if (!wasInterrupted()) t.fail(`${path}: the run never waited`)
        t.equal(seen, meant, `${path}: ${name}`)
        t.same(treeOf(late), treeOf(early), `${path}: ${name}: the same files`)

        // The way back is checked once, before its first step.
        if (scene.act.command === 'rollback') continue
        copyNode(start, late)
        const between = interruptedLater(late, path, () => write(late, path))
        const end = await endOf(perform(scene.act, late, between.ports))
        if (!between.wasInterrupted()) continue
        later += 1
        t.equal(end, meant, `${path}: ${name} after the first change`)
        t.same(treeOf(late), treeOf(early), `${path}: ${name} after the first change: the same files`)
      }
    if (scene.act.command !== 'rollback') t.not(later, 0)
  })
