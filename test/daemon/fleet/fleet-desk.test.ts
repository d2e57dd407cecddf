// The agent's side of the fleet component with real files: what the kubelet mounts, and grants.json.
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { configDigest } from '../../../agent/config/config-digest.ts'
import { renderNote } from '../../../agent/config/fleet-note.ts'
import { fleetDesk } from '../../../agent/daemon/fleet/fleet-desk.ts'
import { nodeFiles } from '../../../agent/node/files/files.ts'
import { inputFiles } from '../../../agent/node/files/input-files.ts'
import { grantStore } from '../../../agent/node/state/grant-store.ts'
import { SILENT } from '../../fixtures/scratch/carry-out.ts'

const grant = { id: 'aaaaaaaa', generation: '0123456789ab', ttlSeconds: 120 }
const config = 'c'.repeat(64)

async function deskOn(t: Test) {
  const root = t.testdir({
    inputs: { 'trust.yaml': 'a', 'ca.pem': 'b', password: 'secret' },
    fleet: { 'trust.yaml': '', 'ca.pem': '' },
  })
  let nowMs = 0
  const options = {
    inputs: inputFiles({ freshMs: 0 }),
    folder: join(root, 'fleet'),
    configFolder: join(root, 'inputs'),
    store: grantStore({ files: nodeFiles({ root }), folder: '/state' }),
    clock: { monotonic: () => nowMs },
    log: SILENT,
  }
  return {
    root,
    desk: fleetDesk(options),
    again: () => fleetDesk(options),
    async note(text: string) {
      await mkdir(join(root, 'fleet/registry-trust.io'), { recursive: true })
      await writeFile(join(root, 'fleet/registry-trust.io/fleet'), text)
    },
    pass(ms: number) {
      nowMs += ms
    },
  }
}

t.test('without a note nothing is granted, and nothing is broken', async (t) => {
  const { desk, note } = await deskOn(t)
  t.match(await desk.check(grant.generation), /^waits for the fleet's grant/)
  await note('')
  t.match(await desk.take(grant.generation), /^waits for the fleet's grant/)
  await note('{"config":1')
  await desk.reread()
  t.equal(desk.note(), undefined)
  t.equal(desk.report(), null)
})

t.test('a grant is good for one restart, also after a crash in the middle of it', async (t) => {
  const { desk, again, note, root } = await deskOn(t)
  await note(renderNote({ config, nodes: 3, grant }))
  t.equal(await desk.check(grant.generation), undefined)
  t.match(await desk.check('ffffffffffff'), /is for generation 0123456789ab/)
  t.equal(await desk.check(grant.generation), undefined, 'asking uses nothing up')
  t.match(desk.report(), { phase: 'held' })
  t.equal(await desk.take(grant.generation), undefined)
  t.match(JSON.parse(await readFile(join(root, 'state/grants.json'), 'utf8')), [{ id: grant.id, phase: 'used' }])
  t.match(await desk.take(grant.generation), /is used up/)
  const next = again()
  t.match(await next.check(grant.generation), /is used up/)
  t.match(next.report(), { phase: 'used' })
  await next.ended({ isUnderWay: true, generation: '', ok: false })
  t.match(next.report(), { phase: 'used' }, 'containerd is not back yet')
  await next.ended({ isUnderWay: false, generation: grant.generation, ok: true })
  t.match(next.report(), { phase: 'done', ok: true })
})

t.test('a restart that was rolled back is done, and not well', async (t) => {
  const { desk, note } = await deskOn(t)
  await note(renderNote({ config, nodes: 3, grant }))
  await desk.take(grant.generation)
  await desk.ended({ isUnderWay: false, generation: 'eeeeeeeeeeee', ok: true })
  t.match(desk.report(), { phase: 'done', ok: false })
})

t.test('a grant that was not used in time is over for good', async (t) => {
  const { desk, again, note, pass } = await deskOn(t)
  await note(renderNote({ config, nodes: 3, grant }))
  await desk.reread()
  pass(120_001)
  await desk.tick()
  t.match(desk.report(), { phase: 'expired' })
  t.match(await again().take(grant.generation), /is used up/)
})

t.test('what cannot be read back allows no restart', async (t) => {
  const { desk, note, root } = await deskOn(t)
  await note(renderNote({ config, nodes: 3, grant }))
  await mkdir(join(root, 'state'))
  for (const text of ['{', '{}', '[{"id":1}]', '[{"id":"a","generation":"b","phase":"held","ok":true}]']) {
    await writeFile(join(root, 'state/grants.json'), text)
    t.match(await desk.take(grant.generation), /grants\.json is not a list of grants/, text)
  }
})

t.test(
  "the digest is of the ConfigMap's own files as the agent reads them, without a Secret's beside them",
  async (t) => {
    const { desk } = await deskOn(t)
    await desk.reread()
    const files = [
      { name: 'trust.yaml', bytes: Buffer.from('a') },
      { name: 'ca.pem', bytes: Buffer.from('b') },
    ]
    t.equal(desk.config(), configDigest(files))
  },
)
