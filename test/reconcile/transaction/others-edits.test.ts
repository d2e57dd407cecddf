// A run dies while containerd is being restarted; others write on; the next run goes back. At every phase of that way
// back: nothing of theirs is lost (merged, left, or a copy in backup/ that is named), and whatever nobody else touched
// is as before.
import {
  appendFileSync,
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { AgentError } from '../../../agent/model/errors.ts'
import type { RunPorts } from '../../../agent/model/run-ports.ts'
import { applyRun } from '../../../agent/reconcile/run/entry.ts'
import { repair } from '../../../agent/reconcile/run/repair.ts'
import { sha256 } from '../../../agent/targets/files/files.ts'
import { treeOf } from '../../fixtures/scratch/carry-out.ts'
import { dyingAt, dyingInRestart } from '../../fixtures/scratch/dying-ports.ts'
import { copyNode, layOut } from '../../fixtures/scratch/fault-scenes.ts'
import { anchor, desired, makeCa, registry } from '../../fixtures/scratch/sample.ts'
import { CERTS_D, CONFIG, STATE, scratchPorts } from '../../fixtures/scratch/scratch-runtime.ts'

t.setTimeout(120_000)

const FAST = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()
const HOST = 'harbor.example.net'
const HOSTS_TOML = `${CERTS_D}/${HOST}/hosts.toml`
const HOST_CA = `${CERTS_D}/${HOST}/ca.crt`
const BUNDLE = '/etc/ssl/certs/ca-certificates.crt'
const SOURCE = '/usr/local/share/ca-certificates/corp.crt'
const CA = makeCa('Root')
const THEIR_CA = makeCa('Their Root')
const RUNTIME = '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata]\n  runtime_type = "kata"\n'
const MIRROR = '\n[host."https://mirror.example.net"]\n  capabilities = ["pull"]\n'
const WANTED = desired({
  generation: '111111111111',
  anchors: [anchor('corp', CA)],
  registries: [registry(HOST, 'corp')],
})

type Edit = {
  readonly name: string
  readonly path: string
  act(full: string): void
  /** What has to be in the file at the end; absent: it has to be there in a copy. */
  readonly merged?: string
}

const EDITS: readonly Edit[] = [
  {
    name: 'adds a runtime to config.toml',
    path: CONFIG,
    act: (full) => appendFileSync(full, RUNTIME),
    merged: RUNTIME,
  },
  {
    name: 'adds a CA to the bundle',
    path: BUNDLE,
    act: (full) => appendFileSync(full, THEIR_CA.pem),
    merged: THEIR_CA.pem,
  },
  {
    name: 'adds a mirror to hosts.toml',
    path: HOSTS_TOML,
    act: (full) => appendFileSync(full, MIRROR),
    merged: 'mirror.example.net',
  },
  { name: 'breaks config.toml', path: CONFIG, act: (full) => appendFileSync(full, '[[[ x\n') },
  { name: 'replaces the CA file', path: SOURCE, act: (full) => writeFileSync(full, THEIR_CA.pem) },
  { name: 'replaces the CA file of the host', path: HOST_CA, act: (full) => writeFileSync(full, THEIR_CA.pem) },
  {
    name: 'replaces hosts.toml by other text',
    path: HOSTS_TOML,
    act: (full) => writeFileSync(full, 'server = [\n# theirs'),
  },
]

/** A node on which a run died when it had written everything and containerd was being restarted. */
async function deadNode(
  folder: string,
): Promise<{ readonly dead: string; readonly before: ReturnType<typeof treeOf> }> {
  const dead = join(folder, 'dead')
  layOut(dead)
  const before = treeOf(dead)
  const { ports, death } = dyingInRestart(scratchPorts(dead))
  const options = { address: undefined, byHand: true, consentUnrehearsed: false }
  await Promise.race([death, applyRun(WANTED, options, ports)])
  // The run that was left hanging goes on in this process: what it writes later is not written here.
  const frozen = join(folder, 'frozen')
  copyNode(dead, frozen)
  return { dead: frozen, before }
}

/**
 * Goes back, and dies for good before its change number `at` of a file outside of the state folder; true: it came to
 * that.
 */
async function recoverUntil(root: string, at: number): Promise<boolean> {
  const { ports, death } = dyingAt(scratchPorts(root), at)
  return Promise.race([death, repair(ports).then(() => false)])
}

function copies(root: string): readonly { readonly path: string; readonly text: string }[] {
  const folder = join(root, STATE, 'backup')
  return readdirSync(folder)
    .filter((name) => name.includes('.kept-'))
    .map((name) => ({ path: `${STATE}/backup/${name}`, text: readFileSync(join(folder, name), 'utf8') }))
}

t.test('what others write while a run goes back is never lost, whichever step of it they come before', async (t) => {
  const folder = mkdtempSync(join(FAST, 'rt-others-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const { dead, before } = await deadNode(folder)
  const root = join(folder, 'node')
  let tried = 0
  for (const edit of EDITS)
    for (let phase = 0; ; phase += 1) {
      copyNode(dead, root)
      const isUnderWay = await recoverUntil(root, phase)
      const full = join(root, edit.path)
      // By then it is gone: somebody who writes there makes a file of his own.
      const wasOurs = existsSync(full)
      if (wasOurs) edit.act(full)
      const theirs = wasOurs ? readFileSync(full, 'utf8') : ''
      const { problems } = (await repair(scratchPorts(root))).recovered
      const now = existsSync(full) ? readFileSync(full, 'utf8') : ''
      const name = `${edit.name}, before step ${phase}`
      if (wasOurs) {
        const copy = copies(root).find(({ text }) => text === theirs)
        const isKept = edit.merged === undefined ? now === theirs : now.includes(edit.merged)
        t.ok(isKept, `${name}: it is there`)
        t.notMatch(now, edit.merged === undefined ? /^$/ : CA.pem, `${name}: and what the agent wrote is not`)
        if (copy !== undefined)
          t.match(problems.map(({ message }) => message).join(), copy.path, `${name}: the copy is named`)
      }
      const untouched = Object.entries(treeOf(root)).filter(
        ([path]) => path !== edit.path && !edit.path.startsWith(`${path}/`),
      )
      const expected = Object.entries(before).filter(
        ([path]) => path !== edit.path && !edit.path.startsWith(`${path}/`),
      )
      // What a file of theirs still names stays with it.
      const named = untouched.filter(
        ([path]) => before[path] === undefined && !(path === HOST_CA && now.includes('ca.crt')),
      )
      t.same(named, [], `${name}: nothing else of the agent's is left`)
      t.same(
        expected.filter(([path, state]) => treeOf(root)[path] !== state),
        [],
        `${name}: all else is as before`,
      )
      t.equal(await scratchPorts(root).store.journal.read(), undefined, `${name}: it is over`)
      tried += 1
      if (!isUnderWay) break
    }
  t.ok(tried > EDITS.length * 4, `${tried} moments were tried`)
})

/** When somebody writes while a restart is under way that will go back. */
const MOMENTS = ['before the command', 'when the new file is loaded', 'while CRI is asked'] as const
type Moment = (typeof MOMENTS)[number]

/** A node before its restart, and somebody who writes once, at this moment of it. */
function someoneWriting(root: string, edit: (typeof EDITS)[number], moment: Moment) {
  layOut(root)
  rmSync(`${root}.started`, { force: true })
  const full = join(root, edit.path)
  const ports = scratchPorts(root)
  let theirs: string | undefined
  const write = (now: Moment) => {
    if (now !== moment || theirs !== undefined) return
    edit.act(full)
    theirs = readFileSync(full, 'utf8')
  }
  const restart: RunPorts['systemd']['restart'] = async (...given) => {
    write('before the command')
    const done = await ports.systemd.restart(...given)
    write('when the new file is loaded')
    return done
  }
  const restarting: RunPorts = { ...ports, systemd: { ...ports.systemd, restart } }
  return { name: `${edit.name}, ${moment}`, full, ports, restarting, write, theirs: () => theirs }
}

t.test('what others write while a restart goes wrong is kept by the way back of the same run', async (t) => {
  const folder = mkdtempSync(join(FAST, 'rt-others-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const root = join(folder, 'node')
  for (const edit of EDITS)
    for (const moment of MOMENTS) {
      const { name, full, ports, restarting, write, theirs } = someoneWriting(root, edit, moment)
      const isNew = () => existsSync(`${root}.loaded`) && readFileSync(`${root}.loaded`, 'utf8').includes(CERTS_D)
      const failing: RunPorts = {
        ...restarting,
        connectCri(socket) {
          const cri = ports.connectCri(socket)
          if (!isNew()) return cri
          write('while CRI is asked')
          const version = async () => Promise.reject(new AgentError('CRI_NOT_LOADED', 'unknown service'))
          return { ...cri, version }
        },
      }
      const options = { address: undefined, byHand: true, consentUnrehearsed: false }
      const run = await applyRun(WANTED, options, failing)
      t.equal(run.outcome, 'rolled-back', name)
      t.ok(theirs() !== undefined, `${name}: somebody wrote`)
      const now = existsSync(full) ? readFileSync(full, 'utf8') : ''
      const aside = readdirSync(join(full, '..')).filter((each) => each.includes('.registry-trust-other-'))
      const kept = [
        ...copies(root).map(({ text }) => text),
        ...aside.map((each) => readFileSync(join(full, '..', each), 'utf8')),
      ]
      const isThere =
        now === theirs() || (edit.merged !== undefined && now.includes(edit.merged)) || kept.includes(theirs() ?? '')
      t.ok(isThere, `${name}: nothing of theirs is lost`)
      t.notOk(isNew(), `${name}: containerd has its old file`)
    }
})

t.test(
  'what others write while a restart goes well stays, and the next run keeps what is also of others',
  async (t) => {
    const folder = mkdtempSync(join(FAST, 'rt-others-'))
    t.teardown(() => rmSync(folder, { recursive: true, force: true }))
    const root = join(folder, 'node')
    const options = { address: undefined, byHand: true, consentUnrehearsed: false }
    for (const edit of EDITS)
      for (const moment of MOMENTS) {
        const { name, full, ports, restarting, write, theirs } = someoneWriting(root, edit, moment)
        const edited: RunPorts = {
          ...restarting,
          connectCri(socket) {
            if (existsSync(`${root}.started`)) write('while CRI is asked')
            return ports.connectCri(socket)
          },
        }
        const run = await applyRun(WANTED, options, edited)
        t.equal(run.outcome, 'applied', name)
        t.ok(theirs() !== undefined, `${name}: somebody wrote`)
        const text = () => (existsSync(full) ? readFileSync(full, 'utf8') : '')
        t.equal(text(), theirs(), `${name}: it stays as they made it`)
        await applyRun(WANTED, options, ports)
        if (edit.path !== CONFIG && edit.path !== BUNDLE) {
          // What the agent alone owns is put right, as at any other time: theirs is kept, and named.
          t.not(text(), theirs(), `${name}: it is put right`)
          const copy = copies(root).find((one) => one.text === theirs())
          t.ok(copy !== undefined, `${name}: there is a copy of theirs`)
          const audit = readFileSync(join(root, STATE, 'audit.jsonl'), 'utf8')
          t.match(audit, `"keptAs":{"${edit.path}":"${copy?.path}"}`, `${name}: the audit log names it`)
          continue
        }
        const isThere = edit.merged === undefined ? text() === theirs() : text().includes(edit.merged)
        t.ok(isThere, `${name}: nothing of theirs is taken out by the next run`)
      }
  },
)

const FAULTS: { readonly [name: string]: (full: string) => void } = {
  'is replaced by a link': (full) => {
    rmSync(full)
    symlinkSync('/dev/null', full)
  },
  'is removed': (full) => rmSync(full),
  'gets another mode': (full) => chmodSync(full, 0o640),
}

t.test('a file that others replace, remove or chmod stays as they made it, and all others are put back', async (t) => {
  const folder = mkdtempSync(join(FAST, 'rt-others-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const { dead, before } = await deadNode(folder)
  const root = join(folder, 'node')
  const changed = Object.keys(treeOf(dead)).filter(
    (path) => !path.startsWith(CONFIG) && lstatSync(join(dead, path)).isFile() && treeOf(dead)[path] !== before[path],
  )
  t.same(changed.sort(), [BUNDLE, HOST_CA, HOSTS_TOML, SOURCE].sort())
  for (const [name, act] of Object.entries(FAULTS)) {
    copyNode(dead, root)
    act(join(root, CONFIG))
    await repair(scratchPorts(root))
    const tree = Object.entries(treeOf(root)).filter(([path]) => !path.includes('.registry-trust-other-'))
    t.same(Object.fromEntries(tree), before, `${CONFIG} ${name}: all is as before`)
  }
  for (const path of changed)
    for (const [name, act] of Object.entries(FAULTS)) {
      copyNode(dead, root)
      act(join(root, path))
      const theirs = treeOf(root)[path]
      const { problems } = (await repair(scratchPorts(root))).recovered
      const others = (tree: ReturnType<typeof treeOf>) =>
        Object.entries(tree).filter(([each]) => !path.startsWith(each))
      t.same(others(treeOf(root)), others(before), `${path} ${name}`)
      if (name === 'gets another mode') {
        t.match(treeOf(root)[path] ?? 'gone', before[path] === undefined ? 'gone' : /^file 640 /, `${path} ${name}`)
        continue
      }
      t.equal(treeOf(root)[path], theirs, `${path} ${name}: it is left`)
      const isTold = problems.some(({ message }) => message.includes(path))
      t.equal(isTold, theirs !== before[path], `${path} ${name}: told`)
    }
})

t.test(
  'config.toml goes back whatever others made of it: theirs is kept beside it and named in the outcome',
  async (t) => {
    const folder = mkdtempSync(join(FAST, 'rt-others-'))
    t.teardown(() => rmSync(folder, { recursive: true, force: true }))
    const { dead, before } = await deadNode(folder)
    const root = join(folder, 'node')
    const acts: typeof FAULTS = {
      ...FAULTS,
      'is replaced by a folder': (full) => {
        rmSync(full)
        mkdirSync(full)
      },
      'is replaced by other text': (full) => writeFileSync(full, '# theirs\n'),
    }
    for (const [name, act] of Object.entries(acts)) {
      copyNode(dead, root)
      act(join(root, CONFIG))
      const theirs = treeOf(root)[CONFIG]
      const { problems } = (await repair(scratchPorts(root))).recovered
      t.equal(treeOf(root)[CONFIG], before[CONFIG], `${name}: the original is back`)
      const told = problems.filter(({ code }) => code === 'UNDO_KEPT_OTHERS').map(({ message }) => message)
      t.match(told, [CONFIG], `${name}: told`)
      t.equal(told.length, 1, `${name}: once`)
      const aside = Object.keys(treeOf(root)).find((path) => path.startsWith(`${CONFIG}.registry-trust-other-`))
      if (name === 'is removed') {
        t.equal(aside, undefined)
        continue
      }
      t.match(told.join(), aside ?? 'a name', `${name}: by its name`)
      t.equal(treeOf(root)[aside ?? ''], theirs, `${name}: kept as they made it`)
      t.same((await repair(scratchPorts(root))).recovered.problems, [], `${name}: and not told again`)
    }
  },
)

t.test(
  'the audit log tells of each path what lay there before it was put back, and what lies there since',
  async (t) => {
    const folder = mkdtempSync(join(FAST, 'rt-others-'))
    t.teardown(() => rmSync(folder, { recursive: true, force: true }))
    const { dead } = await deadNode(folder)
    const hashAt = (root: string, path: string) => {
      const full = join(root, path)
      return existsSync(full) && lstatSync(full).isFile() ? sha256(readFileSync(full)) : null
    }
    const root = join(folder, 'node')
    copyNode(dead, root)
    appendFileSync(join(root, BUNDLE), THEIR_CA.pem)
    const lay = new Map([CONFIG, BUNDLE, HOSTS_TOML, HOST_CA, SOURCE].map((path) => [path, hashAt(root, path)]))
    await repair(scratchPorts(root))
    const lines = readFileSync(join(root, STATE, 'audit.jsonl'), 'utf8')
      .trim()
      .split('\n')
    const told = lines.map((line) => JSON.parse(line)).findLast(({ event }) => event === 'recovered')
    for (const [path, beforeSha256] of lay) {
      const expected = {
        path,
        beforeSha256: path === CONFIG ? undefined : beforeSha256,
        afterSha256: hashAt(root, path),
      }
      const found = told.changes.find((each: { path: string }) => each.path === path)
      t.match(found, expected.beforeSha256 === undefined ? { path, afterSha256: expected.afterSha256 } : expected, path)
      if (path !== CONFIG) t.not(found.beforeSha256, found.afterSha256, `${path} was changed`)
    }
  },
)
