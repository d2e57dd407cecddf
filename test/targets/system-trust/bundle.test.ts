// A bundle that somebody is writing right now: waited for, and never overwritten with what it was made from.
import { readFileSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { nodeFiles } from '../../../agent/node/files/files.ts'
import { applyRun } from '../../../agent/reconcile/run/entry.ts'
import { recordReads } from '../../../agent/reconcile/transaction/read-set.ts'
import { Transaction } from '../../../agent/reconcile/transaction/transaction.ts'
import { readBundle } from '../../../agent/targets/system-trust/bundle.ts'
import { scratchNode, treeOf } from '../../fixtures/scratch/carry-out.ts'
import { layOut } from '../../fixtures/scratch/fault-scenes.ts'
import { anchor, desired, makeCa, registry } from '../../fixtures/scratch/sample.ts'
import { scratchPorts } from '../../fixtures/scratch/scratch-runtime.ts'

const BUNDLE = '/etc/ssl/certs/ca-certificates.crt'
const whole = makeCa('One').pem + makeCa('Two').pem

t.test('empty or cut off for a moment: read when it is whole', async (t) => {
  const root = t.testdir({ bundle: '' })
  for (const torn of ['', whole.slice(0, -300)]) {
    writeFileSync(join(root, 'bundle'), torn)
    setTimeout(() => writeFileSync(join(root, 'bundle'), whole), 60)
    const state = await readBundle('/bundle', nodeFiles({ root }))
    t.equal(state.kind === 'file' && state.bytes.toString(), whole)
  }
})

t.test('one that has been empty for long is taken as it is', async (t) => {
  const root = t.testdir({ bundle: '' })
  const longAgo = new Date(Date.now() - 60_000)
  utimesSync(join(root, 'bundle'), longAgo, longAgo)
  const began = Date.now()
  t.match(await readBundle('/bundle', nodeFiles({ root })), { kind: 'file' })
  t.ok(Date.now() - began < 900, 'at once')
})

t.test('what was written between the plan and its execution is not overwritten', async (t) => {
  const node = scratchNode(t.testdir({ var: { lib: {} }, etc: { ssl: { certs: { 'ca-certificates.crt': whole } } } }))
  const { files, reads } = recordReads(node.files)
  await files.list('/etc/ssl/certs')
  await files.read(BUNDLE)
  const transaction = new Transaction(await node.store.load(), 'aaaaaaaaaaaa', { ...node.ports, files, reads })
  const after = { kind: 'file', bytes: Buffer.from('edited'), mode: 0o644, uid: 0, gid: 0 } as const
  const base = {
    target: 'system-trust',
    reason: 'test',
    subject: '',
    folder: '/etc/ssl/certs',
    owns: [],
    forgets: [],
  } as const
  writeFileSync(join(node.root, BUNDLE), `${whole}${makeCa('Three').pem}`)
  const before = treeOf(node.root)
  await t.rejects(
    transaction.execute([
      { ...base, action: 'create', path: '/etc/ssl/certs/new.pem', after },
      { ...base, action: 'edit', path: BUNDLE, after },
    ]),
    { code: 'FILE_CHANGED_MEANWHILE', message: /ca-certificates\.crt was changed by another writer/ },
  )
  t.same(treeOf(node.root), before, 'nothing was written at all')
})

t.test('the run plans again with what is there by then, and keeps it', async (t) => {
  const root = join(t.testdir(), 'node')
  layOut(root)
  const ports = scratchPorts(root)
  const theirs = makeCa('Public Root 3').pem
  let isWritten = false
  // Fake: another writer that comes exactly between the plan and its execution.
  const runner: typeof ports.runner = {
    ...ports.runner,
    async start(options) {
      if (!isWritten) writeFileSync(join(root, BUNDLE), readFileSync(join(root, BUNDLE), 'utf8') + theirs)
      isWritten = true
      return ports.runner.start(options)
    },
  }
  const ca = makeCa('Corp Root')
  const wanted = desired({
    generation: '111111111111',
    anchors: [anchor('corp', ca)],
    registries: [registry('harbor.example.net', 'corp')],
  })
  const options = { address: undefined, byHand: false, consentUnrehearsed: false }
  t.match(await applyRun(wanted, options, { ...ports, runner }), { outcome: 'applied' })
  t.ok(isWritten)
  const text = readFileSync(join(root, BUNDLE), 'utf8')
  t.ok(text.includes(theirs) && text.includes(ca.pem), 'theirs and ours')
})
