// /etc/hosts as a target on a scratch root: only lines of declared names, written in place, healed, given back.
import { appendFileSync, chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type DesiredState, nothingDesired } from '../../../agent/model/desired-state.ts'
import { problem } from '../../../agent/model/errors.ts'
import { type AgentState, EMPTY_STATE } from '../../../agent/model/state.ts'
import { undoSteps } from '../../../agent/reconcile/transaction/undo.ts'
import { examineHostsFile } from '../../../agent/targets/hosts-file/examine.ts'
import { observeHostsFile } from '../../../agent/targets/hosts-file/observe.ts'
import { planHostsFile } from '../../../agent/targets/hosts-file/plan.ts'
import { SILENT, scratchNode, treeOf } from '../../fixtures/scratch/carry-out.ts'
import { desired, registry } from '../../fixtures/scratch/sample.ts'

const HOSTS = '/etc/hosts'
const MARK = '# registry-trust-agent'
const BEFORE = '127.0.0.1 localhost\n# B\u00fcro\n10.0.0.7 other.net\n'
const withAddresses = (...addresses: readonly string[]) =>
  desired({ registries: [{ ...registry('a.net:5000'), addresses }, registry('b.net')] })

function start(t: Test, text: string | undefined = BEFORE) {
  const root = t.testdir({ etc: {}, var: { lib: {} } })
  const file = join(root, HOSTS)
  if (text !== '-') writeFileSync(file, Buffer.from(text, 'latin1'))
  const node = scratchNode(root)
  const plan = async (wanted: DesiredState, state: AgentState) =>
    planHostsFile({ desired: wanted, owned: state.owned }, await observeHostsFile(node.files))
  const apply = async (wanted: DesiredState, state: AgentState) =>
    node.carryOut((await plan(wanted, state)).changes, state)
  const read = () => readFileSync(file, 'latin1')
  return { root, node, plan, apply, file, read }
}

t.test('nothing is planned where no registry has addresses', async (t) => {
  const { plan } = start(t)
  t.same(await plan(desired({ registries: [registry('a.net')] }), EMPTY_STATE), { changes: [], problems: [] })
})

t.test('written in place, healed, changed, and given back byte for byte', async (t) => {
  for (const text of [BEFORE, '', '127.0.0.1 localhost\r\n\xe4\r\n', '::1 localhost', '-']) {
    const { root, plan, apply, file, read } = start(t, text)
    if (text !== '-') chmodSync(file, 0o640)
    const before = treeOf(root)
    const inode = text === '-' ? undefined : statSync(file).ino
    const wanted = withAddresses('10.0.0.1', '2001:db8::1')
    let state = await apply(wanted, EMPTY_STATE)
    const end = text.includes('\r') ? '\r\n' : '\n'
    t.ok(read().includes(`10.0.0.1 a.net ${MARK}${end}2001:db8::1 a.net ${MARK}${end}`), JSON.stringify(read()))
    if (inode !== undefined) t.match(statSync(file), { ino: inode, mode: 0o100640 })
    t.same((await plan(wanted, state)).changes, [], 'a second plan is empty')
    writeFileSync(file, Buffer.from(read().replace('10.0.0.1 a.net', '10.9.9.9 a.net'), 'latin1'))
    t.match(await plan(wanted, state), { changes: [{ action: 'edit', drift: 'changed' }], problems: [] })
    state = await apply(wanted, state)
    state = await apply(withAddresses('10.0.0.2'), state)
    t.equal(read().split(MARK).length, 2)
    state = await apply(nothingDesired(wanted), state)
    t.same(state.owned, {})
    t.same(treeOf(root), before)
  }
})

t.test('lines of others stay, also those that came later', async (t) => {
  const { apply, file, read } = start(t)
  const state = await apply(withAddresses('10.0.0.1'), EMPTY_STATE)
  appendFileSync(file, '10.0.0.9 later.net\n')
  await apply(nothingDesired(undefined), state)
  t.equal(read(), `${BEFORE}10.0.0.9 later.net\n`)
})

t.test('a name that another line has elsewhere is told and left alone', async (t) => {
  const { plan, apply, file, read } = start(t, `${BEFORE}10.0.0.9 x A.NET\n`)
  const conflict = {
    code: 'HOST_ADDRESS_CONFLICT',
    message: /^\/etc\/hosts:4 gives a\.net the address 10\.0\.0\.9, but trust\.yaml gives it 10\.0\.0\.1: /,
  }
  t.match(await plan(withAddresses('10.0.0.1'), EMPTY_STATE), { changes: [], problems: [conflict] })
  const both = { ...withAddresses('10.0.0.1') }
  const others = desired({ registries: [...both.registries, { ...registry('c.net'), addresses: ['10.0.0.3'] }] })
  const state = await apply(others, EMPTY_STATE)
  t.equal(read(), `${BEFORE}10.0.0.9 x A.NET\n10.0.0.3 c.net ${MARK}\n`, 'the others are written')
  writeFileSync(file, read().replace('# B', '10.0.0.8 c.net\n# B'))
  const later = await plan(others, state)
  t.same(later.changes, [], 'a line of the agent stays as it is')
  t.match(later.problems, [
    { code: 'HOST_ADDRESS_CONFLICT', message: /^\/etc\/hosts:5 gives a/ },
    { message: /:2 gives c\.net the address 10\.0\.0\.8/ },
  ])
})

t.test('what another line says already is not said twice', async (t) => {
  const { plan, apply, read } = start(t, '10.0.0.1 a.net\n')
  t.same(await plan(withAddresses('10.0.0.1'), EMPTY_STATE), { changes: [], problems: [] })
  await apply(withAddresses('10.0.0.1', '10.0.0.2'), EMPTY_STATE)
  t.equal(read(), `10.0.0.1 a.net\n10.0.0.2 a.net ${MARK}\n`)
})

t.test('a registry that is held keeps its lines', async (t) => {
  const { plan, apply } = start(t)
  const state = await apply(withAddresses('10.0.0.1'), EMPTY_STATE)
  const problems = [problem('CONDITION_UNKNOWN', 'not known')]
  const held = desired({ registries: [{ ...registry('a.net'), addresses: ['10.0.0.2'], problems }] })
  t.same((await plan(held, state)).changes, [])
  t.same((await plan(held, EMPTY_STATE)).problems, [])
})

t.test("lines that an earlier state forgot are the agent's again", async (t) => {
  const { apply, read } = start(t)
  await apply(withAddresses('10.0.0.1'), EMPTY_STATE)
  const state = await apply(withAddresses('10.0.0.1'), EMPTY_STATE)
  t.match(state.owned, { [HOSTS]: { kind: 'edited', target: 'hosts-file' } })
  await apply(nothingDesired(undefined), state)
  t.equal(read(), BEFORE)
})

t.test('what cannot be edited is told and left alone', async (t) => {
  const root = t.testdir({ etc: { hosts: t.fixture('symlink', '../nix/hosts') }, nix: { hosts: BEFORE } })
  const { files } = scratchNode(root)
  const wanted = { desired: withAddresses('10.0.0.1'), owned: {} }
  const link = planHostsFile(wanted, await observeHostsFile(files))
  t.match(link, {
    changes: [],
    problems: [
      {
        code: 'FILE_OUTSIDE_TARGET',
        message:
          '/etc/hosts is a link to ../nix/hosts: name the addresses where that file is made; no address was written for a.net',
      },
    ],
  })
  const file = { kind: 'file', bytes: Buffer.from(BEFORE), mode: 0o644, uid: 0, gid: 0, mtimeMs: 0 } as const
  const asks = (seen: Partial<Awaited<ReturnType<typeof observeHostsFile>>>) =>
    planHostsFile(wanted, { file, isWritable: true, isSeen: true, ...seen })
  t.match(asks({ isWritable: false }).problems, [
    { code: 'TARGET_READ_ONLY', message: /^\/etc\/hosts cannot be written/ },
  ])
  t.match(asks({ isSeen: false, file: { kind: 'absent' } }).problems, [
    { code: 'TARGET_NOT_MOUNTED', message: /components\/hosts-file/ },
  ])
  t.match(asks({ file: { kind: 'folder', mode: 0o755, uid: 0, gid: 0 } }).problems, [{ code: 'FILE_FOREIGN' }])
  t.match(asks({ file: { kind: 'unreadable', reason: 'too large' } }).problems, [{ code: 'NODE_FILE_UNREADABLE' }])
  t.match(asks({ file: { ...file, bytes: Buffer.from('a\0b') } }).problems, [{ code: 'FILE_FOREIGN', message: /NUL/ }])
  for (const changes of [asks({ isWritable: false }), asks({ isSeen: false })].map((one) => one.changes))
    t.same(changes, [])
})

t.test('an undo takes the lines out of what others wrote meanwhile', async (t) => {
  for (const [edit, left] of [
    [(text: string) => `${text}10.0.0.9 later.net\n`, `${BEFORE}10.0.0.9 later.net\n`],
    [(text: string) => `10.0.0.9 first.net\n${text}`, `10.0.0.9 first.net\n${BEFORE}`],
    [(text: string) => text.replace(/^.*registry-trust.*\n/m, ''), BEFORE],
  ] as const) {
    const { node, apply, file, read } = start(t)
    const state = await apply(withAddresses('10.0.0.1'), EMPTY_STATE)
    writeFileSync(file, Buffer.from(edit(read()), 'latin1'))
    const report = await undoSteps(state.previous?.steps ?? [], { ...node.ports, log: SILENT })
    t.match(report, [{ path: HOSTS, result: /restored|merged/ }])
    t.equal(read(), left)
  }
})

t.test('doctor tells where nothing asks the hosts file', async (t) => {
  const ailments = async (line: string) => {
    const root = t.testdir({ etc: { 'nsswitch.conf': `passwd: files\n${line}\n` } })
    return examineHostsFile(true, scratchNode(root).files)
  }
  for (const line of [
    'hosts: files dns',
    'hosts:\tmymachines resolve [!UNAVAIL=return] files myhostname dns',
    '',
    '# hosts: dns',
  ])
    t.same(await ailments(line), [], line)
  t.match(await ailments('hosts: dns'), [{ severity: 'error', where: '/etc/nsswitch.conf:2', what: /no program asks/ }])
  t.match(await ailments('hosts: dns files'), [{ severity: 'warning', what: /asks dns before/ }])
})
