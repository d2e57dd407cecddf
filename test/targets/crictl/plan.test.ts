// /etc/crictl.yaml as a target on a scratch root: off unless asked for, and as before when it leaves.
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { nothingDesired } from '../../../agent/model/desired-state.ts'
import { type AgentState, EMPTY_STATE } from '../../../agent/model/state.ts'
import { observeCrictl } from '../../../agent/targets/crictl/observe.ts'
import { planCrictl } from '../../../agent/targets/crictl/plan.ts'
import { scratchNode, treeOf } from '../../fixtures/scratch/carry-out.ts'
import { desired } from '../../fixtures/scratch/sample.ts'

const SOCKET = '/run/k3s/containerd/containerd.sock'
const on = desired({ targets: { ...desired().targets, crictl: { enabled: 'on' } } })

function start(t: Test, text?: string) {
  const root = t.testdir({ etc: text === undefined ? {} : { 'crictl.yaml': text }, var: { lib: {} } })
  const node = scratchNode(root)
  const plan = async (wanted: typeof on, state: AgentState) =>
    planCrictl({ desired: wanted, owned: state.owned }, await observeCrictl(SOCKET, node.files))
  return { root, node, plan, file: join(root, 'etc/crictl.yaml') }
}

t.test('nothing is written unless it is asked for', async (t) => {
  const { plan } = start(t, 'runtime-endpoint: unix:///wrong.sock\n')
  t.same((await plan(desired(), EMPTY_STATE)).changes, [])
})

t.test('written, healed, and given back', async (t) => {
  for (const text of [undefined, 'runtime-endpoint: unix:///wrong.sock # mine\ntimeout: 10\n']) {
    const { root, node, plan, file } = start(t, text)
    const before = treeOf(root)
    const state = await node.carryOut((await plan(on, EMPTY_STATE)).changes, EMPTY_STATE)
    t.match(readFileSync(file, 'utf8'), new RegExp(`^runtime-endpoint: unix://${SOCKET} `, 'm'))
    t.equal(statSync(file).mode & 0o777, 0o644)
    t.same((await plan(on, state)).changes, [], 'a second plan is empty')
    writeFileSync(file, readFileSync(file, 'utf8').replaceAll(SOCKET, '/elsewhere'))
    t.match((await plan(on, state)).changes, [{ action: 'edit', drift: 'changed' }])
    const left = await node.carryOut(
      (await plan(nothingDesired(on), await node.carryOut((await plan(on, state)).changes, state))).changes,
      state,
    )
    t.same(left.owned, {})
    t.same(treeOf(root), before)
  }
})

t.test('a link is not written through', async (t) => {
  const root = t.testdir({ etc: { 'crictl.yaml': t.fixture('symlink', '/opt/crictl.yaml') } })
  const plan = planCrictl({ desired: on, owned: {} }, await observeCrictl(SOCKET, scratchNode(root).files))
  t.match(plan, { changes: [], problems: [{ code: 'FILE_FOREIGN' }] })
})
