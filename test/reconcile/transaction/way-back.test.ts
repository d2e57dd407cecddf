// Each way in which a node can make one path fail, on each path, while a restart goes back: containerd gets its old
// file, every other path is put back, the one that fails is told, and is put back when it can be. Real kernel answers
// on a tmpfs of its own; the disk error alone is a fake. REGISTRY_TRUST_THOROUGH=1 tries it at each step of the way.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { JournalStep } from '../../../agent/model/ports.ts'
import { undoSteps } from '../../../agent/reconcile/transaction/undo.ts'
import { COMPILE_CACHE } from '../../fixtures/compile-cache.ts'
import { SILENT, scratchNode } from '../../fixtures/scratch/carry-out.ts'
import type { Cell } from '../../fixtures/scratch/way-back-program.ts'

const STEPS = process.env['REGISTRY_TRUST_THOROUGH'] === undefined ? 'first' : 'all'
const PROGRAM = join(import.meta.dirname, '../../fixtures/scratch/way-back-program.ts')

t.setTimeout(600_000)

t.test('whatever fails on the way back, the rest of the node goes back', async (t) => {
  const { stdout, stderr } = spawnSync('unshare', ['-m', process.execPath, PROGRAM, STEPS], {
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
    env: { PATH: process.env['PATH'], NODE_COMPILE_CACHE: COMPILE_CACHE },
  })
  const cells: readonly Cell[] = stdout === '' ? [] : JSON.parse(stdout)
  t.ok(cells.length >= 50, `${cells.length} cells ${stderr}`)
  for (const { fault, path, step, wrong } of cells) t.equal(wrong, '', `${fault}: ${path}, at step ${step}`)
  for (const fault of new Set(cells.map((cell) => cell.fault)))
    t.comment(`${fault}: ${cells.filter((cell) => cell.fault === fault).length} cells`)
})

t.test('a temporary folder that a failed call left behind keeps no folder of the agent from going', async (t) => {
  const { files, store, root } = scratchNode(t.testdir({ etc: { 'certs.d': { '.registry-trust.tmp': { x: '' } } } }))
  const step: JournalStep = {
    path: '/etc/certs.d',
    folder: '/etc',
    before: { kind: 'absent' },
    after: { kind: 'folder', mode: 0o755 },
  }
  t.match(await undoSteps([step], { files, store, log: SILENT }), [{ path: '/etc/certs.d', result: 'restored' }])
  t.notOk(existsSync(join(root, 'etc/certs.d')))
  mkdirSync(join(root, 'etc/certs.d/theirs'), { recursive: true })
  t.match(await undoSteps([step], { files, store, log: SILENT }), [{ result: 'left', reason: 'it is not empty' }])
})
