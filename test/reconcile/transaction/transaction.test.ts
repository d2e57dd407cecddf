// What the transaction and the runs around it do when something goes wrong in the middle: real files on a scratch root,
// a stand-in runtime.
import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { AgentError } from '../../../agent/model/errors.ts'
import type { CallOptions, CriClient } from '../../../agent/model/ports.ts'
import type { RunPorts } from '../../../agent/model/run-ports.ts'
import { EMPTY_STATE } from '../../../agent/model/state.ts'
import { applyRun } from '../../../agent/reconcile/run/entry.ts'
import { rollbackRun } from '../../../agent/reconcile/run/leaving/rollback.ts'
import { recover } from '../../../agent/reconcile/transaction/recover.ts'
import { Transaction } from '../../../agent/reconcile/transaction/transaction.ts'
import { treeOf } from '../../fixtures/scratch/carry-out.ts'
import { dyingInRestart } from '../../fixtures/scratch/dying-ports.ts'
import { layOut } from '../../fixtures/scratch/fault-scenes.ts'
import { perform } from '../../fixtures/scratch/perform.ts'
import { anchor, desired, makeCa, registry } from '../../fixtures/scratch/sample.ts'
import { CERTS_D, CONFIG, STATE, scratchPorts } from '../../fixtures/scratch/scratch-runtime.ts'

const HOST = 'harbor.example.net'
const BUNDLE = '/etc/ssl/certs/ca-certificates.crt'
const BY_HAND = { address: undefined, byHand: true, consentUnrehearsed: false }
const BY_ITSELF = { ...BY_HAND, byHand: false }
const CA = makeCa('Root')
const WANTED = desired({
  generation: '111111111111',
  anchors: [anchor('corp', CA)],
  registries: [registry(HOST, 'corp')],
})

function node(t: Test) {
  const root = join(t.testdir(), 'node')
  layOut(root)
  return { root, ports: scratchPorts(root), before: treeOf(root) }
}

function transactionsOf(root: string): readonly { readonly result: string; readonly restarted: boolean }[] {
  return JSON.parse(readFileSync(join(root, STATE, 'state.json'), 'utf8')).transactions
}

t.test('a folder that cannot be read is not taken for undone: the next start tries again', async (t) => {
  const { root, ports, before } = node(t)
  const folder = `${CERTS_D}/${HOST}`
  const file = { kind: 'file', bytes: Buffer.from('x'), mode: 0o644, uid: 0, gid: 0 } as const
  const base = {
    target: 'containerd-hosts',
    action: 'create',
    reason: 'test',
    subject: HOST,
    owns: [],
    forgets: [],
  } as const
  const transaction = new Transaction(await ports.store.load(), WANTED.generation, ports)
  await transaction.execute([
    { ...base, path: CERTS_D, folder: '/etc/containerd', after: { kind: 'folder', mode: 0o755 } },
    {
      ...base,
      path: folder,
      folder: CERTS_D,
      after: { kind: 'tree', mode: 0o755, files: [{ name: 'ca.crt', content: file }] },
    },
  ])
  const real = scratchPorts(root)
  // Fake: a disk error cannot be had on demand.
  const read: typeof real.files.read = async (path) =>
    path === folder ? { kind: 'unreadable', reason: 'EIO: i/o error' } : real.files.read(path)
  const { problems, state } = await recover({ ...real, files: { ...real.files, read } })
  const about = (name: string) => problems.find(({ message }) => message.startsWith(name))
  t.match(about(folder), { code: 'ROLLBACK_INCOMPLETE', message: /harbor\.example\.net cannot be read: EIO/ })
  t.same(
    state.unrestored?.map(({ path }) => path),
    [CERTS_D, folder, `${folder}/ca.crt`],
  )
  t.not(treeOf(root)[folder], undefined, 'it is there still')
  t.match(await recover(scratchPorts(root)), { problems: [], state: EMPTY_STATE })
  t.same(treeOf(root), before)
})

t.test('the audit log is written once for all changes, also where the last of them fails', async (t) => {
  const { root, ports } = node(t)
  let writes = 0
  const store: RunPorts['store'] = {
    ...ports.store,
    async audit(...lines) {
      writes += 1
      await ports.store.audit(...lines)
    },
  }
  const change = (name: string, folder: string) => ({
    target: 'system-trust' as const,
    action: 'create' as const,
    reason: 'test',
    subject: name,
    owns: [],
    forgets: [],
    path: `${folder}/${name}`,
    folder,
    after: { kind: 'file', bytes: Buffer.from(name), mode: 0o644, uid: 0, gid: 0 } as const,
  })
  const lines = () =>
    readFileSync(join(root, STATE, 'audit.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
  const done = new Transaction(await store.load(), WANTED.generation, { ...ports, store })
  const folder = '/etc/ssl/certs'
  await done.execute(Array.from({ length: 20 }, (_, index) => change(`${index}.pem`, folder)))
  t.equal(writes, 1)
  t.same(
    lines().map(({ path }) => path),
    Array.from({ length: 20 }, (_, index) => `${folder}/${index}.pem`),
  )
  await done.commit({
    result: 'committed',
    generation: WANTED.generation,
    durationMs: 0,
    changes: 20,
    restarted: false,
    reason: 'test',
  })

  const failing = new Transaction(await store.load(), WANTED.generation, { ...ports, store })
  await t.rejects(failing.execute([change('more.pem', folder), change('x.pem', `${folder}/missing`)]))
  t.equal(writes, 3, 'what was done, and that it was undone')
  t.match(lines().slice(20), [{ path: `${folder}/more.pem` }, { event: 'undone' }])
})

t.test('a death after the restart is a restart that failed: it counts, and is not repeated at once', async (t) => {
  const { root, ports, before } = node(t)
  t.equal(await crashAtRestart(ports), true, 'it was killed')
  t.not(treeOf(root)[CONFIG], before[CONFIG])
  const run = await applyRun(WANTED, BY_ITSELF, scratchPorts(root))
  t.match(run, { outcome: 'deferred', restartPending: /the last restart was rolled back; the next try is not before/ })
  t.equal(treeOf(root)[CONFIG], before[CONFIG], 'config.toml is the old one')
  t.match(transactionsOf(root)[0], { result: 'rolled-back', restarted: true, reason: /the agent ended/ })
  t.match(await applyRun(WANTED, BY_HAND, scratchPorts(root)), { outcome: 'applied' }, 'a person may')
})

t.test('a containerd that died of the files of a run that died is started again with the old ones', async (t) => {
  const { root, ports } = node(t)
  t.equal(await crashAtRestart(ports, { isRestarted: true }), true, 'it was killed')
  let restarts = 0
  let isDead = true
  const dead: RunPorts = {
    ...ports,
    connectCri: (socket) => {
      const cri = ports.connectCri(socket)
      const fails = () => Promise.reject(new AgentError('CRI_NOT_LOADED', 'no CRI'))
      return { ...cri, version: (options) => (isDead ? fails() : cri.version(options)) }
    },
    systemd: {
      ...ports.systemd,
      async restart(name, options) {
        restarts += 1
        isDead = false
        t.match(readFileSync(join(root, CONFIG), 'utf8'), /config_path = ""/, 'the old file is back by then')
        return ports.systemd.restart(name, options)
      },
    },
  }
  const run = await applyRun(desired(), BY_ITSELF, dead)
  t.equal(run.outcome, 'unchanged')
  t.equal(restarts, 1)
  isDead = true
  t.match(
    await applyRun(desired(), BY_ITSELF, dead),
    { outcome: 'no-containerd' },
    'without such a death it is left alone',
  )
  t.equal(restarts, 1)
})

/** Runs until containerd is to be restarted, and ends there as a killed process does: nothing of it goes on. */
async function crashAtRestart(ports: RunPorts, options: { readonly isRestarted?: boolean } = {}) {
  const dying = dyingInRestart(ports, options)
  return await Promise.race([dying.death, applyRun(WANTED, BY_HAND, dying.ports)])
}

t.test('what cannot be recorded at the end is undone, with the restart that belongs to it', async (t) => {
  const { root, ports, before } = node(t)
  let restarts = 0
  const full: RunPorts = {
    ...ports,
    systemd: {
      ...ports.systemd,
      async restart(name, options) {
        restarts += 1
        return ports.systemd.restart(name, options)
      },
    },
    store: {
      ...ports.store,
      async save(state) {
        if (state.transactions.at(-1)?.result === 'committed')
          throw new AgentError('NO_SPACE', 'no space for state.json')
        await ports.store.save(state)
      },
    },
  }
  const run = await applyRun(WANTED, BY_HAND, full)
  t.match(run, { outcome: 'rolled-back', problems: [{ code: 'NO_SPACE' }], applied: [] })
  t.same(treeOf(root), before)
  t.equal(restarts, 2, 'there and back')
  t.match(transactionsOf(root), [{ result: 'rolled-back', restarted: true }], 'and the restart counts')
  t.equal(await ports.store.journal.read(), undefined)
})

t.test('a state folder that is full before the restart prevents it', async (t) => {
  const { root, ports, before } = node(t)
  const full: RunPorts = {
    ...ports,
    store: { ...ports.store, save: () => Promise.reject(new AgentError('NO_SPACE', 'no space for state.json')) },
    systemd: {
      ...ports.systemd,
      restart: () => {
        t.fail('containerd was restarted')
        return Promise.reject(new Error())
      },
    },
  }
  t.match(await applyRun(WANTED, BY_HAND, full), { outcome: 'refused', problems: [{ code: 'NO_SPACE' }] })
  t.same(treeOf(root), before)
})

t.test('an empty host folder of others has its mode again after an undo', async (t) => {
  const { root, ports } = node(t)
  mkdirSync(join(root, CERTS_D, HOST), { recursive: true })
  chmodSync(join(root, CERTS_D, HOST), 0o700)
  const before = treeOf(root)
  const failing: RunPorts = {
    ...ports,
    systemd: { ...ports.systemd, restart: () => Promise.reject(new AgentError('RESTART_FAILED', 'no')) },
  }
  t.match(await applyRun(WANTED, BY_HAND, failing), { outcome: 'rolled-back' })
  t.same(treeOf(root), before)
  t.equal(statSync(join(root, CERTS_D, HOST)).mode & 0o777, 0o700)
})

t.test('rollback does not undo what others changed in a file since', async (t) => {
  const { root, ports } = node(t)
  t.match(await applyRun(WANTED, BY_HAND, ports), { outcome: 'applied' })
  const others = `${readFileSync(join(root, BUNDLE), 'utf8')}${makeCa('A later one').pem}`
  writeFileSync(join(root, BUNDLE), others)
  const before = treeOf(root)
  const run = await rollbackRun(WANTED, BY_HAND, ports)
  t.match(run, { outcome: 'refused', problems: [{ code: 'ROLLBACK_BLOCKED', message: new RegExp(BUNDLE) }] })
  t.same(treeOf(root), before)
})

t.test('config_path put back into the file of a containerd that has it loaded costs no restart', async (t) => {
  const { root, ports } = node(t)
  t.match(await applyRun(WANTED, BY_HAND, ports), { outcome: 'applied', restarts: [{ result: 'ok' }] })
  const good = readFileSync(join(root, CONFIG), 'utf8')
  const now = { bootId: ports.restarts.bootId, uptimeMs: ports.clock.monotonic(), at: new Date().toISOString() }
  // The budget is used up.
  for (let times = 0; times < 3; times += 1)
    await ports.restarts.ledger.add({
      ...now,
      id: `${times}`,
      kind: 'forward',
      by: 'agent',
      reason: 'test',
      result: 'ok',
    })
  for (const status of ['told', 'not told'] as const) {
    writeFileSync(join(root, CONFIG), good.replace(/^.*config_path.*\n/m, ''))
    const connectCri: RunPorts['connectCri'] = (socket) => {
      const cri = ports.connectCri(socket)
      // As containerd 2 does.
      const untold = async (options: CallOptions) => {
        const { loadedConfigPath: _, ...rest } = await cri.status(options)
        return rest
      }
      return status === 'told' ? cri : { ...cri, status: untold }
    }
    const run = await applyRun(WANTED, BY_ITSELF, { ...ports, connectCri })
    t.match(run, { outcome: 'applied', restarts: [], restartPending: undefined }, status)
    t.equal(readFileSync(join(root, CONFIG), 'utf8'), good, status)
  }
})

t.test('config_path taken back by hand: the host directories go all the same once nobody declares them', async (t) => {
  for (const command of ['apply', 'uninstall'] as const) {
    const { root, before } = node(t)
    const original = readFileSync(join(root, CONFIG))
    t.match(await perform({ command: 'apply', desired: WANTED }, root), { outcome: 'applied' })
    writeFileSync(join(root, CONFIG), original)
    const held = { ...WANTED, generation: '222222222222', anchors: [{ ...anchor('corp', CA), certificates: [] }] }
    await perform({ command: 'apply', desired: held }, root)
    t.ok(treeOf(root)[`${CERTS_D}/${HOST}/hosts.toml`], 'an anchor that cannot be used now takes nothing away')
    writeFileSync(join(root, CONFIG), original)
    await perform({ command, desired: desired() }, root)
    t.same(treeOf(root), before, command)
  }
})

t.test('a private copy that ends while it is asked is started once more; it is no verdict', async (t) => {
  for (const [deaths, verdict] of [
    [1, 'passed'],
    [2, 'not-rehearsed'],
  ] as const) {
    const { ports } = node(t)
    let starts = 0
    // Fake: a copy that the kernel ends in the middle of its first pull.
    const runner: RunPorts['runner'] = {
      ...ports.runner,
      async start(options) {
        const daemon = await ports.runner.start(options)
        starts += 1
        if (!daemon.started || starts > deaths) return daemon
        const pullImage: CriClient['pullImage'] = async () => ({
          ok: false,
          status: 'UNAVAILABLE',
          text: 'read ECONNRESET',
        })
        return { ...daemon, cri: { ...daemon.cri, pullImage } }
      },
    }
    const { rehearsal } = await applyRun(WANTED, BY_HAND, { ...ports, runner })
    t.match(rehearsal, { verdict })
    t.equal(starts, 2)
  }
})

t.test('a heal that somebody came into is tried again, three times in a row at most', async (t) => {
  for (const failures of [2, 4]) {
    const { root, ports } = node(t)
    const hostsFile = join(root, CERTS_D, HOST, 'hosts.toml')
    const theirs = `server = "https://${HOST}"\n\n[host."https://${HOST}"]\n  capabilities = ["pull", "resolve"]\n`
    const writeTheirs = (text: string) => writeFileSync(hostsFile, `# ${text}\n${theirs}`)
    mkdirSync(join(root, CERTS_D, HOST), { recursive: true })
    writeFileSync(join(root, CERTS_D, HOST, 'ca.crt'), 'theirs')
    writeTheirs('theirs')
    t.match(await perform({ command: 'apply', desired: WANTED }, root), { outcome: 'applied' })
    const isOursNamed = () => readFileSync(hostsFile, 'utf8').includes('registry-trust.crt')
    t.ok(isOursNamed())
    let runs = 1
    // Fake: what comes in between before the healed file is proved.
    const connectCri: RunPorts['connectCri'] = (socket) => {
      const cri = ports.connectCri(socket)
      const pullImage: CriClient['pullImage'] = async (reference, options) => {
        if (runs > failures || !isOursNamed()) return cri.pullImage(reference, options)
        const cause = 'tls: failed to verify certificate: x509: certificate signed by unknown authority'
        const text = `failed to resolve reference "${reference}": failed to do request: Head "https://${HOST}/v2/": ${cause}`
        return { ok: false, status: 'UNKNOWN', text }
      }
      return { ...cri, pullImage }
    }
    const seen: string[] = []
    for (; runs <= 4; runs += 1) {
      writeTheirs(`theirs again, ${runs}`)
      seen.push((await applyRun(WANTED, BY_ITSELF, { ...ports, connectCri })).outcome)
    }
    const expected = failures === 2 ? ['applied', 'applied'] : ['rolled-back', 'refused']
    t.same(seen, ['rolled-back', 'rolled-back', ...expected])
  }
})
