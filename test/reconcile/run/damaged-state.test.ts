// Everything that the agent keeps in its state folder, damaged in every way: apply, the healing of drift and uninstall
// work all the same, or say what they could not do; and it is told until somebody has looked at it. A run takes a third
// of the damages, others in the next turn; all with REGISTRY_TRUST_FULL=1.
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { applyRun } from '../../../agent/reconcile/run/entry.ts'
import { uninstallRun } from '../../../agent/reconcile/run/leaving/uninstall.ts'
import { treeOf } from '../../fixtures/scratch/carry-out.ts'
import { copyNode, layOut } from '../../fixtures/scratch/fault-scenes.ts'
import { anchor, desired, makeCa, registry } from '../../fixtures/scratch/sample.ts'
import { CERTS_D, CONFIG, STATE, scratchPorts } from '../../fixtures/scratch/scratch-runtime.ts'
import { partOf } from '../../fixtures/turn.ts'

const BY_HAND = { address: undefined, byHand: true, consentUnrehearsed: false }
const HOST = 'harbor.example.net'
const [CA, NEXT] = [makeCa('Root'), makeCa('Next')]
const WANTED = desired({
  generation: '111111111111',
  anchors: [anchor('corp', CA)],
  registries: [registry(HOST, 'corp')],
})
const ROTATED = { ...WANTED, generation: '222222222222', anchors: [anchor('corp', NEXT)] }

const PARTS = ['state.json', 'journal', 'journal/transaction.json', 'lock', 'lock-holder.json', 'backup', 'audit.jsonl']
const OF_RESTARTS = ['restart', 'restart/99999999.json', 'restart/ledger.jsonl', 'restart/after']

const DAMAGE: { readonly [name: string]: (path: string) => void } = {
  missing: () => undefined,
  empty: (path) => writeFileSync(path, ''),
  half: (path) => writeFileSync(path, '{"version": 1, "generation": "1111'),
  'of another version': (path) => writeFileSync(path, '{"version": 7, "steps": "all"}\n'),
  'a folder': (path) => {
    mkdirSync(path)
    writeFileSync(join(path, 'theirs'), 'x')
  },
  'a link': (path) => symlinkSync('/dev/null', path),
  // Root reads whatever its mode is: too large to be read is what is left of unreadable.
  unreadable: (path) => {
    writeFileSync(path, '')
    truncateSync(path, 17 * 1024 * 1024)
  },
}

t.setTimeout(process.env['REGISTRY_TRUST_FULL'] === '1' ? 600_000 : 180_000)

t.test('whatever is damaged in the state folder, every command does its work', async (t) => {
  // Hundreds of runs: what is made durable in memory waits for no disk.
  const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'rt-damaged-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const [fresh, start, rotated, root] = ['fresh', 'start', 'rotated', 'node'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
    string,
  ]
  layOut(fresh)
  copyNode(fresh, start)
  await applyRun(WANTED, BY_HAND, scratchPorts(start))
  copyNode(start, rotated)
  await applyRun(ROTATED, BY_HAND, scratchPorts(rotated))
  const hosts = join(root, CERTS_D, HOST, 'hosts.toml')
  const ends = { before: treeOf(fresh), installed: treeOf(start), rotated: treeOf(rotated) }
  const ways = Object.entries(DAMAGE)
  const each = (parts: readonly string[]) =>
    parts.flatMap((part) => ways.map(([name, damage]) => ({ part, name, damage })))
  // The number of ways has no divisor in common with these, so that each part and each way is in every run.
  for (const { part, name, damage } of [...partOf(each(PARTS), 3), ...partOf(each(OF_RESTARTS), 4)]) {
    const prepare = () => {
      copyNode(start, root)
      const path = join(root, STATE, part)
      rmSync(path, { recursive: true, force: true })
      mkdirSync(join(path, '..'), { recursive: true })
      damage(path)
    }
    const what = `${part} ${name}`
    prepare()
    const run = await applyRun(ROTATED, BY_HAND, scratchPorts(root))
    t.match(run, { outcome: 'applied' }, `${what}: apply`)
    t.same(treeOf(root), ends.rotated, `${what}: apply does all of it`)
    const aside = (await scratchPorts(root).store.damaged()).filter(
      (path) => existsSync(join(root, path)) || isLink(join(root, path)),
    )
    const told = run.problems.filter(({ code }) => code === 'STATE_SET_ASIDE')
    t.equal(told.length, aside.length, `${what}: what is set aside is told`)
    const again = await applyRun(ROTATED, BY_HAND, scratchPorts(root))
    t.match(again, { outcome: 'unchanged' }, `${what}: and then all is well`)
    t.equal(
      again.problems.filter(({ code }) => code === 'STATE_SET_ASIDE').length,
      aside.length,
      `${what}: until a person looks`,
    )

    prepare()
    writeFileSync(hosts, readFileSync(hosts, 'utf8').replace('ca =', '# ca ='))
    await applyRun(WANTED, { ...BY_HAND, byHand: false }, scratchPorts(root))
    t.same(treeOf(root), ends.installed, `${what}: drift is healed`)

    prepare()
    const removal = await uninstallRun(WANTED, BY_HAND, scratchPorts(root))
    t.match(removal, { outcome: 'applied' }, `${what}: uninstall`)
    t.same(withoutConfig(treeOf(root)), withoutConfig(ends.before), `${what}: uninstall takes everything`)
    t.notMatch(readFileSync(join(root, CONFIG), 'utf8'), /certs\.d/, `${what}: the line in config.toml too`)
    t.notOk(existsSync(join(root, STATE)), `${what}: and the state folder`)
  }
})

function isLink(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true
}

/** Without backup or state nobody knows what the agent's line was before. */
function withoutConfig(tree: { readonly [path: string]: string }) {
  return Object.fromEntries(Object.entries(tree).filter(([path]) => path !== CONFIG))
}
