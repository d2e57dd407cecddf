// Every overlay for a distribution, as a Pod on a tree laid out like it: the Pod starts where /usr, or /etc/ssl, is
// read-only, writes where that distribution's containerd and store read, heals, and leaves everything as it was.
// Two of them each day; REGISTRY_TRUST_FULL=1 runs all.
import { writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import t, { type Test } from 'tap'
import { CriPod } from '../fixtures/deploy/cri-pod.ts'
import { crioDistributions } from '../fixtures/deploy/crio-trees.ts'
import { type DeployedNode, deployedNode, untilStatus } from '../fixtures/deploy/deployed-node.ts'
import {
  DISTRIBUTIONS,
  type Distribution,
  onTree,
  startTree,
  type Tree,
} from '../fixtures/deploy/distribution-trees.ts'
import { imageUnavailable } from '../fixtures/deploy/image.ts'
import { DAEMONSET_FOLDER, OVERLAYS, type PodSpec, podSpec, render } from '../fixtures/deploy/objects.ts'
import { contents } from '../fixtures/e2e/agent-on-node.ts'
import { crioFolder, noCrio } from '../fixtures/node/crio.ts'
import { newestSystemdGeneration } from '../fixtures/node/node-tests.ts'
import { partOf } from '../fixtures/turn.ts'

/** `REGISTRY_TRUST_TREES=rhel,cos` names some of them. */
const asked = (process.env['REGISTRY_TRUST_TREES'] ?? '').split(',').filter((name) => name !== '')
const CHOSEN = asked.length > 0 ? DISTRIBUTIONS.filter(({ name }) => asked.includes(name)) : partOf(DISTRIBUTIONS, 5)
const WITH_CRIO = ['crio', 'openshift']
/** What is no distribution, or another name of one that is here. */
const OTHERS = /^(audit|fleet|full|hosts|hosts-proof|plain-sidecars|uninstall.*)$/

t.test('every overlay of a distribution has a tree here', async (t) => {
  const names = [...DISTRIBUTIONS.map(({ name }) => name), ...WITH_CRIO]
  t.same(names.toSorted(), OVERLAYS.filter((name) => !OTHERS.test(name)).toSorted())
})

/** As docs/deployment.md says: the component uninstall on what the nodes have. */
async function uninstallOf(t: Test, name: string): Promise<PodSpec> {
  const folder = t.testdir()
  const at = (path: string) => relative(folder, join(DAEMONSET_FOLDER, path))
  const text = `resources: [${at(`overlays/${name}`)}]\ncomponents: [${at('components/uninstall')}]\n`
  writeFileSync(join(folder, 'kustomization.yaml'), text)
  return podSpec(await render(relative(DAEMONSET_FOLDER, folder)))
}

async function verifies({ node, authority }: DeployedNode, { path }: Tree, { store }: Distribution): Promise<boolean> {
  if (store === undefined) return true
  const [flag, place] = store
  await node.writeFile('/tmp/ca.pem', authority.pem)
  const others = ['-no-CAstore', flag === '-CAfile' ? '-no-CApath' : '-no-CAfile']
  return (await node.exec(['openssl', 'verify', ...others, flag, `${path}${place}`, '/tmp/ca.pem'])).code === 0
}

async function takesPart(t: Test, deployed: DeployedNode, distribution: Distribution): Promise<void> {
  const { node, registry, configMaps } = deployed
  const { name, unit, isUnitNamed, folders, certsDirectory, source, store, names } = distribution
  const tree = await startTree(node, distribution)
  const before = await contents(node, ...folders.map((folder) => tree.path + folder))
  const pull = () => tree.runtime.pull(registry.reference(), {})
  t.match(await pull(), { ok: false, message: /x509/ }, 'not trusted before')
  t.equal(await verifies(deployed, tree, distribution), store === undefined)

  const trust = JSON.parse(configMaps['registry-trust']?.['trust.yaml'] ?? '{}') as object
  const files = {
    ...configMaps['registry-trust'],
    'trust.yaml': JSON.stringify({ ...trust, ...(isUnitNamed && { restart: { unit } }) }),
  }
  const run = (spec: PodSpec) =>
    CriPod.run(node, onTree(spec, tree), { configMaps: { 'registry-trust': files }, recursiveReadOnly: true })
  const pod = await run(podSpec(await render(`overlays/${name}`)))
  // The next one is asked at the same port.
  t.teardown(() => pod.remove().catch(() => undefined))
  const agent = pod.container('agent')
  const status = await untilStatus(agent, ({ state }) => state === 'converged')
  t.match(status.registries, [{ state: 'trusted' }])
  t.same(status.problems, [])
  t.match(await pull(), { ok: true }, "pulls with the distribution's own runtime")
  if (names !== undefined) t.match(await node.readFile(tree.path + names), registry.host, names)
  t.ok(await verifies(deployed, tree, distribution), 'the real openssl verifies with the store')

  const written = [`${certsDirectory}/${registry.host}/ca.crt`, ...(source === undefined ? [] : [`${source}/ca.*`])]
  for (const file of written) {
    const path = (await node.run(['sh', '-c', `ls ${tree.path}${file}`])).trim()
    await node.run(['rm', path])
    await node.run(['sh', '-c', `for i in $(seq 200); do test -e '${path}' && exit 0; sleep 0.1; done; exit 1`])
  }
  t.match(await pull(), { ok: true }, 'healed')
  await pod.remove()

  const removal = await run(await uninstallOf(t, name))
  t.match(await removal.container('uninstall').status(), { exit_code: 0 }, await removal.container('uninstall').log())
  t.equal(await contents(node, ...folders.map((folder) => tree.path + folder)), before, 'every byte is as before')
  await removal.remove()
  await node.run(['systemctl', 'stop', unit])
}

if (imageUnavailable() === undefined)
  newestSystemdGeneration(t, 'distributions', async (t, generation) => {
    const folder = crioFolder()
    const deployed = await deployedNode(t, generation, folder === undefined ? {} : { binds: [folder] })
    for (const distribution of [...CHOSEN, ...crioDistributions()])
      t.test(`${distribution.name}: starts, is trusted, heals and leaves`, (t) => takesPart(t, deployed, distribution))
    const reason = noCrio()
    if (reason === false) return
    for (const name of WITH_CRIO)
      t.test(`${name}: starts, is trusted, heals and leaves`, { skip: reason }, async () => undefined)
  })
