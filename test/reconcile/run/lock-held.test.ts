// An agent that hangs, or takes long to die, holds the node's lock in the middle of a restart.
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { AgentError } from '../../../agent/model/errors.ts'
import { rememberDaemon } from '../../../agent/reconcile/restart/restart.ts'
import { applyRun } from '../../../agent/reconcile/run/entry.ts'
import { Machine } from '../../../agent/restart/driver.ts'
import { copyNode, layOut } from '../../fixtures/scratch/fault-scenes.ts'
import { anchor, desired, makeCa, registry } from '../../fixtures/scratch/sample.ts'
import { CONFIG, SOCKET, scratchPorts } from '../../fixtures/scratch/scratch-runtime.ts'

const BY_HAND = { address: undefined, byHand: true, consentUnrehearsed: false }
const WANTED = desired({
  generation: '111111111111',
  anchors: [anchor('corp', makeCa('Root'))],
  registries: [registry('harbor.example.net', 'corp')],
})
const BROKEN = 'this is = not [ toml'

t.test('a restart whose driver hangs is brought to its end before the lock of the node is free', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'rt-lock-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const [fresh, root] = [join(folder, 'fresh'), join(folder, 'node')]
  layOut(fresh)
  copyNode(fresh, root)
  const original = readFileSync(join(root, CONFIG))
  const ports = scratchPorts(root)
  const { clock, log, files, restarts, systemd, connectCri } = ports
  const hanging = await Machine.arm(
    { clock, log, files, restarts, systemd, connectCri, audit: async () => undefined },
    'agent',
    {
      id: 'hangs',
      reason: 'test',
      unit: 'containerd.service',
      socket: SOCKET,
      configFile: CONFIG,
      before: hashOf(original),
      after: hashOf(Buffer.from(BROKEN)),
      daemon: await rememberDaemon({ kind: 'systemd', unit: 'containerd.service' }, SOCKET, ports),
      runtime: { runtimeReady: true, networkReady: true, containers: [] },
    },
  )
  // Replaced, as the agent does: what is kept is the original's second name.
  rmSync(join(root, CONFIG))
  writeFileSync(join(root, CONFIG), BROKEN)
  await hanging.written()
  hanging.die()

  let asked = 0
  const lock = {
    async acquire() {
      asked += 1
      if (readFileSync(join(root, CONFIG), 'utf8') === BROKEN)
        throw new AgentError('LOCKED', 'another agent works here')
      return ports.lock.acquire()
    },
  }
  const began = performance.now()
  const run = await applyRun(WANTED, BY_HAND, { ...ports, lock })
  t.match(run, { outcome: 'applied' })
  t.ok(asked > 10, 'as long as the lease runs nobody interferes')
  t.ok(performance.now() - began > 2_000, 'the lease is waited for')
  t.match(readFileSync(join(root, CONFIG), 'utf8'), /certs\.d/)
  t.match(await restarts.read(), { phase: 'committed' }, 'and this run makes its own restart')
})

function hashOf(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
