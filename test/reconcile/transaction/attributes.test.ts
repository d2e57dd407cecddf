// Access lists, extended attributes and labels of files that are not the agent's alone outlive whatever it does to
// them: edit, heal, rollback, uninstall, an undo after a crash, and the way back of a restart.
import { execFileSync } from 'node:child_process'
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { RunPorts } from '../../../agent/model/run-ports.ts'
import { repair } from '../../../agent/reconcile/run/repair.ts'
import { attributesOf, giveAttributes } from '../../fixtures/scratch/attributes.ts'
import { treeOf } from '../../fixtures/scratch/carry-out.ts'
import { dyingInRestart } from '../../fixtures/scratch/dying-ports.ts'
import { layOut } from '../../fixtures/scratch/fault-scenes.ts'
import { perform, type Step } from '../../fixtures/scratch/perform.ts'
import { anchor, desired, makeCa, registry } from '../../fixtures/scratch/sample.ts'
import { CONFIG, scratchPorts } from '../../fixtures/scratch/scratch-runtime.ts'

const BUNDLE = '/etc/ssl/certs/ca-certificates.crt'
const THEIRS = [CONFIG, BUNDLE]
const [CA, NEXT] = [makeCa('Root'), makeCa('Next')]
const WANTED = desired({
  generation: '111111111111',
  anchors: [anchor('corp', CA)],
  registries: [registry('harbor.example.net', 'corp')],
})
const ROTATED = { ...WANTED, generation: '222222222222', anchors: [anchor('corp', NEXT)] }
const step = (command: Step['command'], wanted = WANTED): Step => ({ command, desired: wanted })

function scratch(t: Test): string {
  const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'rt-attributes-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const root = join(folder, 'node')
  layOut(root)
  for (const path of THEIRS) giveAttributes(join(root, path))
  return root
}

function requireAttributes(t: Test, root: string, when: string): void {
  for (const path of THEIRS) {
    const now = attributesOf(join(root, path))
    for (const part of [/^user:nobody:r--$/m, /^user\.note=/m, /^trusted\.note=/m, /^security\.selinux=.*etc_t/m])
      t.match(now, part, `${when}: ${path}`)
  }
}

t.test('through every command', async (t) => {
  const root = scratch(t)
  const before = treeOf(root)
  const seen = async (what: Step, name: string) => {
    const run = await perform(what, root)
    t.match(run, { outcome: what.command === 'rollback' ? 'rolled-back' : 'applied', problems: [] }, name)
    requireAttributes(t, root, name)
  }
  await seen(step('apply'), 'edit')
  await seen(step('apply', ROTATED), 'rotation')
  await seen(step('rollback', ROTATED), 'rollback')
  await seen(step('apply', ROTATED), 'rotation once more')
  writeFileSync(join(root, BUNDLE), readFileSync(join(root, BUNDLE), 'utf8').replace(NEXT.pem, ''))
  await seen(step('apply', ROTATED), 'heal')
  await seen(step('uninstall', ROTATED), 'uninstall')
  t.same(treeOf(root), before, 'and everything else is as before')
})

t.test('through the undo of a run that fails in the middle, and of one that died', async (t) => {
  const root = scratch(t)
  const before = treeOf(root)
  const ports = scratchPorts(root)
  const failing: RunPorts = {
    ...ports,
    systemd: { ...ports.systemd, restart: async () => Promise.reject(new Error('no restart today')) },
    connectCri: (socket) => {
      const cri = ports.connectCri(socket)
      const isNew = readFileSync(join(root, CONFIG), 'utf8').includes('certs.d"')
      return isNew ? { ...cri, version: async () => Promise.reject(new Error('silent')) } : cri
    },
  }
  t.match(await perform(step('apply'), root, failing), { outcome: 'rolled-back' })
  requireAttributes(t, root, 'undo')
  t.same(treeOf(root), before)

  const dying = dyingInRestart(ports)
  await Promise.race([dying.death, perform(step('apply'), root, dying.ports)])
  const dead = `${root}-dead`
  execFileSync('cp', ['-a', root, dead])
  // What the runtime had loaded.
  if (existsSync(`${root}.loaded`)) execFileSync('cp', ['-a', `${root}.loaded`, `${dead}.loaded`])
  appendFileSync(join(dead, BUNDLE), NEXT.pem)
  await repair(scratchPorts(dead))
  requireAttributes(t, dead, 'recovery')
  t.ok(readFileSync(join(dead, BUNDLE), 'utf8').includes(NEXT.pem), 'what others wrote meanwhile is merged')
})

t.test('what could not be kept is a problem of the run', async (t) => {
  const root = scratch(t)
  const ports = scratchPorts(root)
  const files: RunPorts['files'] = {
    ...ports.files,
    put: async (path, content, options) => {
      await ports.files.put(path, content, { folder: options.folder })
      options.ifAttributesLost?.('there is no cp')
    },
  }
  const run = await perform(step('apply'), root, { ...ports, files })
  t.equal(run.outcome, 'applied')
  const told = run.problems.filter(({ code }) => code === 'ATTRIBUTES_LOST').map(({ message }) => message)
  for (const path of THEIRS) t.match(told.join('\n'), `${path} was written, but lost`)
})
