// config.toml cannot be read, or not be edited, under a containerd that runs: host directories are written where the
// running one reads them, and hosts.toml of others is read as its version reads it.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { AgentError } from '../../../agent/model/errors.ts'
import type { ContainerdFacts } from '../../../agent/model/observed-state.ts'
import { EMPTY_STATE } from '../../../agent/model/state.ts'
import { observeContainerd } from '../../../agent/reconcile/observe/containerd.ts'
import { makePlan } from '../../../agent/reconcile/run/planning.ts'
import { examineContainerd } from '../../../agent/targets/containerd/examine.ts'
import { type ScratchNode, scratchNode } from '../../fixtures/scratch/carry-out.ts'
import { anchor, containerdFacts, desired, makeCa, registry } from '../../fixtures/scratch/sample.ts'

const CONFIG = '/etc/containerd/config.toml'
const HOST = 'harbor.example.net'
const wanted = desired({ anchors: [anchor('a', makeCa('Corp Root'))], registries: [registry(HOST, 'a')] })

async function factsOn(
  node: ScratchNode,
  parts: Partial<ContainerdFacts> = {},
  loaded = '/opt/certs.d',
): Promise<ContainerdFacts> {
  return containerdFacts({
    version: '2.1.9',
    status: { runtimeReady: true, networkReady: true, loadedConfigPath: loaded },
    config: await node.files.readFollowing(CONFIG),
    ...parts,
  })
}

function nodeWith(t: Test, config: string): ScratchNode {
  const root = t.testdir({ var: { lib: {} }, opt: {}, etc: { containerd: { 'config.toml': config } } })
  return scratchNode(root)
}

const plan = async (node: ScratchNode, facts: ContainerdFacts) =>
  makePlan({ desired: wanted, state: EMPTY_STATE, facts }, node)

t.test('a file that is no TOML: where containerd reads host directories it says itself', async (t) => {
  const node = nodeWith(t, '[[[ x\n')
  const planned = await plan(node, await factsOn(node))
  t.match(planned.plan.problems, [{ code: 'CONTAINERD_CONFIG_UNREADABLE', message: /config\.toml:1:/ }])
  t.ok(
    planned.plan.changes.some(({ path }) => path.startsWith('/opt/certs.d/')),
    'it is told, and written there',
  )
  t.notOk(planned.plan.changes.some(({ path }) => path === CONFIG))
  t.notOk(planned.plan.restart.required)
  t.match(planned.candidateConfig?.toString(), 'config_path = "/opt/certs.d"')
})

t.test('nothing is written where it is not known, or where it is a list', async (t) => {
  const node = nodeWith(t, '[[[ x\n')
  for (const loaded of ['', '/a:/b', 'relative']) {
    const { plan: made } = await plan(node, await factsOn(node, {}, loaded))
    t.same(
      made.changes.filter(({ target }) => target === 'containerd-hosts'),
      [],
      JSON.stringify(loaded),
    )
  }
})

t.test('a file that the distribution writes anew is left alone, and its config_path is the loaded one', async (t) => {
  const node = nodeWith(t, 'version = 3\n')
  const { plan: made } = await plan(node, await factsOn(node, { isConfigGenerated: true }))
  t.match(made.problems, [{ code: 'CONFIG_EDIT_UNSUPPORTED' }])
  t.ok(made.changes.some(({ path }) => path.startsWith(`/opt/certs.d/${HOST}`)))
})

t.test('doctor and the merge read hosts.toml as the containerd of the node does', async (t) => {
  const node = nodeWith(
    t,
    'version = 3\n[plugins."io.containerd.cri.v1.images".registry]\n  config_path = "/opt/certs.d"\n',
  )
  // 1.6 and 1.7 take a file for none whose top is not a table of theirs; what 2.x takes is another matter.
  const folder = join(node.root, 'opt/certs.d', HOST)
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'hosts.toml'), '\ufeffserver = "https://harbor.example.net"\n')
  const told: string[] = []
  for (const version of ['1.7.24', '2.1.9']) {
    const facts = await factsOn(node, { version })
    const { plan: made } = await plan(node, facts)
    const found = await examineContainerd({ facts, plan: { ...made, certsDirectory: '/opt/certs.d' } }, node.files)
    told.push(JSON.stringify([found.map(({ what }) => what), made.problems.map(({ code }) => code)]))
  }
  t.not(told[0], told[1], told.join('\n'))
})

t.test('a host name without quotes is told as what containerd makes of it', async (t) => {
  const config =
    'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry.mirrors.docker.io]\n  endpoint = ["https://m.net"]\n'
  const node = nodeWith(t, config)
  const facts = await factsOn(node, { version: '1.7.24' })
  const { plan: made } = await plan(node, facts)
  const found = await examineContainerd({ facts, plan: { ...made, certsDirectory: undefined } }, node.files)
  t.match(found, [
    { what: /ignores \[registry\.mirrors\.docker\.io\]: .*quotes, as in registry\.mirrors\."docker\.io"/ },
  ])
})

t.test('a CRI plugin that config.toml switches off is the cause that is told', async (t) => {
  for (const id of ['cri', 'io.containerd.grpc.v1.cri', 'io.containerd.cri.v1.images']) {
    const node = nodeWith(t, `version = 2\ndisabled_plugins = ["${id}"]\n`)
    const refuse = () => Promise.reject(new AgentError('CRI_NOT_LOADED', 'unknown service'))
    const ports = { files: node.files, connectCri: () => ({ version: refuse, close: () => undefined }) }
    const seen = await observeContainerd({ address: '/run/containerd/containerd.sock', unit: 'auto' }, ports as never)
    t.match(seen, { state: 'down', error: { message: `${CONFIG} switches it off: disabled_plugins names ${id}` } })
  }
})
