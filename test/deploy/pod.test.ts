import t from 'tap'
import { startPrivateRegistry } from '../e2e/agent-on-node.ts'
import { eachSystemdGeneration, systemdNode } from '../node/node-tests.ts'
import { CriPod } from './cri-pod.ts'
import { loadImage } from './image.ts'
import { podSpec, render } from './objects.ts'

const HOST = 'harbor.example.net'
eachSystemdGeneration(t, 'full', async (t, generation) => {
  const node = await systemdNode(t, { generation, runContainers: true })
  await node.runContainer()
  await loadImage(node)
  const { registry, authority } = await startPrivateRegistry(node, HOST)
  const configMaps = {
    'registry-trust': { 'trust.yaml': `registries: [{host: ${HOST}, ca: ca.pem}]`, 'ca.pem': authority.pem },
  }
  t.match(await node.pull(registry.reference()), { ok: false, message: /x509/ })
  const pod = await CriPod.run(node, podSpec(await render('base')), { configMaps })
  const deadline = Date.now() + 15_000
  while (!(await node.pull(registry.reference())).ok && Date.now() < deadline)
    await new Promise((r) => setTimeout(r, 200))
  t.match(await node.pull(registry.reference()), { ok: true })
  for (const c of ['cri-proxy', 'restarter', 'agent']) {
    t.comment(c, await pod.container(c).status(), await pod.container(c).log())
  }
})
