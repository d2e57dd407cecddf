// What goes wrong late in a restart: its driver hangs and holds the node's lock, or containerd ends after it answered.
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
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
  const root = freshNode(t)
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
  t.ok(asked > 3, 'as long as the lease runs nobody interferes')
  t.ok(performance.now() - began > 2_000, 'the lease is waited for')
  t.match(readFileSync(join(root, CONFIG), 'utf8'), /certs\.d/)
  t.match(await restarts.read(), { phase: 'committed' }, 'and this run makes its own restart')
})

t.test('a containerd that ends between its first answer and the commit goes back', async (t) => {
  const root = freshNode(t)
  const original = readFileSync(join(root, CONFIG), 'utf8')
  const ports = scratchPorts(root)
  let [commands, hasEnded] = [0, false]
  const systemd = {
    ...ports.systemd,
    async unit(name: string) {
      const unit = await ports.systemd.unit(name)
      const ended = { activeState: 'activating', subState: 'auto-restart', mainPid: 0, result: 'exit-code' }
      return unit === undefined || !hasEnded ? unit : { ...unit, ...ended }
    },
    async restart(...given: Parameters<typeof ports.systemd.restart>) {
      commands += 1
      hasEnded = false
      return ports.systemd.restart(...given)
    },
  }
  const connectCri = (socket: string) => {
    const cri = ports.connectCri(socket)
    // The proof after the first restart, which comes before the commit.
    const pullImage: typeof cri.pullImage = (...given) => {
      hasEnded = commands === 1
      return cri.pullImage(...given)
    }
    return { ...cri, pullImage }
  }
  const run = await applyRun(WANTED, BY_HAND, { ...ports, systemd, connectCri })
  t.match(run, { outcome: 'rolled-back', restarts: [{ result: 'rolled-back' }], error: { code: 'RESTART_FAILED' } })
  t.match(run.error?.message, /ended after its start with the new configuration/)
  t.equal(commands, 2, 'one restart with the new file, and one back')
  t.equal(readFileSync(join(root, CONFIG), 'utf8'), original)
  t.match(await ports.restarts.read(), { phase: 'reverted' })
})

function freshNode(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'rt-late-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const [fresh, root] = [join(folder, 'fresh'), join(folder, 'node')]
  layOut(fresh)
  copyNode(fresh, root)
  return root
}

function hashOf(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
