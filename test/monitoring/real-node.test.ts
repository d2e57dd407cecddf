// The whole chain on a real node: containerd, a registry, the agent as it is shipped, and Prometheus that scrapes it
// meanwhile.
import t from 'tap'
import { JOB } from '../../scripts/monitoring/alerts.ts'
import { AgentOnNode, BY_SIGNAL, generationsToTest, startPrivateRegistry } from '../fixtures/e2e/agent-on-node.ts'
import { byNode, type Firing, impatientRules, settle } from '../fixtures/monitoring/firing.ts'
import { besideNode, startPrometheus } from '../fixtures/monitoring/prometheus.ts'
import { startSandboxNode } from '../fixtures/node/sandbox-node.ts'

const HOST = 'harbor.example.net'
const CERTS_D = `/etc/containerd/certs.d/${HOST}`
const generation = generationsToTest().at(-1)
if (generation === undefined) throw new Error('no containerd to test on')

t.test('what goes wrong on a node is an alert, and its cure ends it', async (t) => {
  const node = await startSandboxNode({ generation })
  t.teardown(() => node.dispose())
  const { registry, authority } = await startPrivateRegistry(node, HOST)
  const agent = await AgentOnNode.on(node)
  const trust = {
    registries: [{ host: HOST, ca: 'ca.pem', proof: { every: '1s' } }],
    drift: { resync: '1s', heal: false },
    ...BY_SIGNAL,
  }
  await agent.configure(trust, { 'ca.pem': authority.pem })
  const daemon = await agent.startDaemon()
  await daemon.until(({ state }) => state === 'converged')
  const target = { job: JOB, address: '127.0.0.1:9461', labels: { node: 'worker-1', namespace: 'worker-1' } }
  const prometheus = await startPrometheus(t, { targets: [target], rules: impatientRules(), place: besideNode(node) })
  await prometheus.scraped(1)
  t.strictSame(byNode(await prometheus.alerts()), {}, 'quiet')

  const see = async (name: string, ...alerts: readonly string[]) => {
    const wanted: Firing = alerts.length === 0 ? {} : { 'worker-1': alerts }
    t.strictSame(await settle(prometheus, wanted), wanted, name)
  }

  const stranger = await startPrivateRegistry(node, 'stranger.example.net')
  await node.setHost(HOST, stranger.registry.address)
  await see('another server answers', `RegistryTrustLost critical ${HOST} hostname-mismatch`)
  await node.setHost(HOST, await node.newAddress())
  await see('nobody answers', `RegistryTrustProofFailing warning ${HOST} refused`)
  await node.setHost(HOST, registry.address)
  await see('all is well again')

  await agent.configure('registries: [')
  await see('a broken trust.yaml', 'RegistryTrustConfigRejected warning')
  await agent.configure(trust)
  await see('the file is good again')

  await node.run(['chmod', '600', `${CERTS_D}/hosts.toml`])
  await see('drift that is only reported', 'RegistryTrustDriftNotHealed warning containerd-hosts')
  await agent.configure({ ...trust, drift: { resync: '1s' } })
  await see('drift that is healed')

  await node.stopContainerd()
  await see('containerd is down', 'RegistryTrustContainerdDown critical')
  await node.startContainerd()
  await see('containerd is back')

  await daemon.service.stop()
  const gone = { 'worker-1': ['RegistryTrustAgentDown warning'], fleet: ['RegistryTrustAgentAbsent critical'] }
  t.strictSame(await settle(prometheus, gone), gone)
})
