// The promise of the transaction, at every system call that touches the node: whatever fails there, and if the agent
// dies there, the node is afterwards as before or as meant, nothing is left lying around, and the next run ends where
// it was to end. REGISTRY_TRUST_THOROUGH=1 tries every call with every error, a larger number that many of them,
// REGISTRY_TRUST_FULL=1 240 of all situations; the default is 24 of every third situation, others in the next turn.
// Each sample is spread over all calls.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { repair } from '../../../agent/reconcile/run/repair.ts'
import { treeOf } from '../../fixtures/scratch/carry-out.ts'
import { bundleProgram, copyNode, layOut, type Scene, scenes } from '../../fixtures/scratch/fault-scenes.ts'
import { type Fault, trace, withFault } from '../../fixtures/scratch/faults.ts'
import { perform } from '../../fixtures/scratch/perform.ts'
import { STATE, scratchPorts } from '../../fixtures/scratch/scratch-runtime.ts'
import { partOf } from '../../fixtures/turn.ts'

const THOROUGH = Number(process.env['REGISTRY_TRUST_THOROUGH'] ?? 0)
const ALL = THOROUGH === 1
const EVERY_ERROR = THOROUGH > 0
const SAMPLE = THOROUGH > 1 ? THOROUGH : process.env['REGISTRY_TRUST_FULL'] === '1' ? 240 : 24
/** What was not reached counts as not tried. */
const AT_LEAST = Math.min(200, (SAMPLE * 5) / 6)
const AT_ONCE = 2
/** Once this file is in place the transaction has begun. */
const JOURNAL = /transaction\.json/
/** A record of a restart before it gets its name. */
const HALF_A_RECORD = /\/restart\/(\.[0-9a-f]{16}|after)$/
const ERRORS = ['EIO', 'ENOSPC', 'EROFS', 'EACCES'] as const

t.setTimeout(EVERY_ERROR ? 7_200_000 : 300_000)

type Tree = { readonly [path: string]: string }
type Prepared = {
  readonly scene: Scene
  readonly start: string
  readonly desiredFile: string
  readonly before: Tree
  readonly after: Tree
  readonly ownedBefore: string
  readonly ownedAfter: string
  readonly faults: readonly Fault[]
}

t.test('a call that fails, and a death at each call', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'rt-faults-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const program = await bundleProgram(folder)
  const prepared: Prepared[] = []
  for (const [index, scene] of (EVERY_ERROR ? scenes() : partOf(scenes(), 3)).entries())
    prepared.push(await prepare(scene, join(folder, String(index)), program))
  const all = prepared.flatMap((each) => each.faults.map((fault) => ({ each, fault })))
  // Most calls only open a folder on the way to another call.
  const isOpen = ({ fault }: { readonly fault: Fault }) => fault.call === 'openat'
  const some = [
    ...spread(
      all.filter((one) => !isOpen(one)),
      (SAMPLE * 3) / 4,
    ),
    ...spread(all.filter(isOpen), SAMPLE / 4),
  ]
  const chosen = ALL ? [...all] : some
  const hits = { died: 0, failed: 0, missed: 0 }
  const ends = { before: 0, after: 0 }
  const worker = async (number: number) => {
    for (let next = chosen.shift(); next !== undefined; next = chosen.shift()) {
      const { each, fault } = next
      const seen = await strike(each, fault, join(folder, `w${number}`), program).catch(
        (error: unknown): Seen => ({ how: 'missed', wrong: String(error) }),
      )
      hits[seen.how] += 1
      if (seen.end !== undefined) ends[seen.end] += 1
      t.equal(seen.wrong, '', `${each.scene.name}: ${fault.call} ${fault.when} ${fault.effect}`)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, (_, number) => worker(number)))
  t.comment(
    `${all.length} points; tried: ${hits.died} deaths, ${hits.failed} errors, ${hits.missed} not reached; ended as before ${ends.before}, as meant ${ends.after}`,
  )
  t.ok(hits.died + hits.failed >= AT_LEAST, `at least ${AT_LEAST} faults happened`)
  t.ok(hits.died >= AT_LEAST / 4 && hits.failed >= AT_LEAST / 4, 'of both kinds')
  t.ok(ends.before > 0 && ends.after > 0, 'some before, some after the point of no return')
})

/** Lays the node out, does it once undisturbed to know the end, and once traced to know the calls. */
async function prepare(scene: Scene, base: string, program: string): Promise<Prepared> {
  const start = `${base}-start`
  const work = `${base}-work`
  layOut(start)
  for (const step of scene.before) await perform(step, start)
  const desiredFile = `${base}.json`
  writeFileSync(desiredFile, JSON.stringify(scene.act.desired))
  copyNode(start, work)
  await perform(scene.act, work)
  const [after, ownedAfter] = [treeOf(work), ownedIn(work)]
  copyNode(start, work)
  const argv = [process.execPath, program, work, desiredFile, scene.act.command]
  const points = await trace(argv, { folder: work, log: `${base}.log` })
  const faults = points.flatMap((point, index) => {
    const errors = EVERY_ERROR ? ERRORS : [ERRORS[index % ERRORS.length] ?? 'EIO']
    return [{ ...point, effect: 'KILL' as const }, ...errors.map((effect) => ({ ...point, effect }))]
  })
  return { scene, start, desiredFile, before: treeOf(start), after, ownedBefore: ownedIn(start), ownedAfter, faults }
}

type Owned = readonly (readonly [path: string, owner: unknown])[]

type Seen = { readonly how: 'died' | 'failed' | 'missed'; readonly end?: 'before' | 'after'; readonly wrong: string }

async function strike(prepared: Prepared, fault: Fault, base: string, program: string): Promise<Seen> {
  const { scene, start, desiredFile, before, after, ownedBefore, ownedAfter } = prepared
  const root = `${base}-root`
  copyNode(start, root)
  const argv = [process.execPath, program, root, desiredFile, scene.act.command]
  const { stdout, killed, hits, isEarly } = await withFault(argv, fault, { watershed: JOURNAL, log: `${base}.log` })
  const how = killed ? 'died' : hits > 0 ? 'failed' : 'missed'
  const told = `\n${stdout.trim()}`
  // What is told to be undone is undone at once, not only by the next run.
  if (/"outcome":"(refused|rolled-back)"/.test(stdout) && scene.act.command !== 'rollback') {
    const left = difference(treeOf(root), before)
    if (left !== '') return { how, wrong: `said to be undone: ${left}${told}` }
  }
  // As the next start of the agent does.
  await repair(scratchPorts(root))
  const now = treeOf(root)
  const owned = ownedIn(root)
  const isBefore = difference(now, before) === ''
  const isAfter = difference(now, after) === ''
  // A folder that cannot be read while the plan is made looks like a read-only one: less is planned then, and that is
  // done as a whole.
  const isLess = isEarly && fault.effect !== 'KILL'
  if (!isBefore && !isAfter && !isLess)
    return { how, wrong: `neither: ${difference(now, before)} | ${difference(now, after)}${told}` }
  // But nothing goes that was to stay, on the disk and in what is remembered as ours.
  const lost = difference(common(now, [before, after]), common(before, [before, after]))
  if (lost !== '') return { how, wrong: `what was to stay has changed: ${lost}${told}` }
  const stay = (JSON.parse(ownedBefore) as Owned)
    .map(([path]) => path)
    .filter((path) => ownedAfter.includes(`"${path}"`))
  const forgotten = stay.filter((path) => !owned.includes(`"${path}"`))
  if (forgotten.length > 0) return { how, wrong: `not known as ours any more: ${forgotten.join(', ')}${told}` }
  if (!isLess && owned !== (isBefore ? ownedBefore : ownedAfter))
    return { how, wrong: `state.json tells another state${told}` }
  const leftovers = temporariesIn(root)
  if (leftovers.length > 0) return { how, wrong: `left behind: ${leftovers.join(', ')}${told}` }
  const end = isBefore ? 'before' : 'after'
  if (isBefore || scene.act.command !== 'rollback') await perform(scene.act, root)
  return { how, end, wrong: difference(treeOf(root), after) }
}

function ownedIn(root: string): string {
  try {
    const { owned } = JSON.parse(readFileSync(join(root, STATE, 'state.json'), 'utf8'))
    return JSON.stringify(Object.entries(owned).sort())
  } catch {
    return JSON.stringify([])
  }
}

function temporariesIn(root: string): readonly string[] {
  const names = readdirSync(root, { recursive: true, encoding: 'utf8' })
  const journal = `${STATE.slice(1)}/journal/`
  return names.filter(
    (name) => name.includes('.registry-trust.tmp') || name.startsWith(journal) || HALF_A_RECORD.test(name),
  )
}

function difference(now: Tree, wanted: Tree): string {
  const paths = [...new Set([...Object.keys(now), ...Object.keys(wanted)])].filter((path) => now[path] !== wanted[path])
  return paths.map((path) => `${path}: ${now[path] ?? 'absent'} instead of ${wanted[path] ?? 'absent'}`).join('; ')
}

/** The part of `tree` that is the same in all of `others`. */
function common(tree: Tree, [one, ...others]: readonly [Tree, ...Tree[]]): Tree {
  const paths = Object.keys(one).filter((path) => others.every((other) => other[path] === one[path]))
  return Object.fromEntries(paths.map((path) => [path, tree[path] ?? 'absent']))
}

/** `count` of them, evenly. */
function spread<T>(all: readonly T[], count: number): T[] {
  return all.filter(
    (_, index) => Math.floor((index * count) / all.length) !== Math.floor(((index - 1) * count) / all.length),
  )
}
