// The whole chain on a real node: containerd, a registry, the agent as it is shipped, and Prometheus that scrapes it
// meanwhile.
import t from 'tap'
import { JOB } from '../../scripts/monitoring/alerts.ts'
import { BY_SIGNAL, newestToTest, startPrivateRegistry } from '../fixtures/e2e/agent-on-node.ts'
import { nodeWithRegistry } from '../fixtures/e2e/registry-node.ts'
import { byNode, type Firing, impatientRules, settle } from '../fixtures/monitoring/firing.ts'
import { besideNode, startPrometheus } from '../fixtures/monitoring/prometheus.ts'
import type { FixtureNode } from '../fixtures/node/fixture-node.ts'
import { partOf } from '../fixtures/turn.ts'

const HOST = 'harbor.example.net'
const CERTS_D = `/etc/containerd/certs.d/${HOST}`
const CONFIG = '/etc/containerd/config.toml'
const STATE = '/var/lib/registry-trust'
const generation = newestToTest()

const FRAGMENT = 'registries.d/team-b.yaml'

/** Long keys above many values, of three sizes, one or two a day; the last is as large as a ConfigMap may be. */
const HOSTILE: { readonly [name: string]: string } = {
  '200 KB': keysAndValues(200_000),
  '1 MB': keysAndValues(1_000_000),
  'the largest ConfigMap': keysAndValues(1_048_576),
}

function keysAndValues(size: number): string {
  const line = (at: number) => ` ${'k'.repeat(500)}${at}: [${'1,'.repeat(300)}]\n`
  const lines = Array.from({ length: Math.floor(size / 1_120) }, (_, at) => line(at)).join('')
  return `a:\n${lines}`.padEnd(size, '#').slice(0, size)
}

/**
 * Asks /livez twenty times a second. What its own event loop had to wait meanwhile, and the time for which the agent's
 * main thread stood ready and got no processor (schedstat), is the machine's and not the agent's.
 */
const ASKING = `
const { get } = require('node:http')
const { readFileSync } = require('node:fs')
const waited = () => Number(readFileSync('/proc/' + PID + '/task/' + PID + '/schedstat', 'utf8').split(' ')[1]) / 1e6
let [answers, longest, late, seen] = [0, 0, 0, performance.now()]
setInterval(() => { late = Math.max(late, performance.now() - seen - 10); seen = performance.now() }, 10)
const ask = () => new Promise((resolve) => {
  const [started, before] = [performance.now(), waited()]
  late = 0
  const end = (isAnswer) => {
    if (isAnswer) answers += 1
    longest = Math.max(longest, isAnswer ? performance.now() - started - Math.max(late, waited() - before) : 60_000)
    resolve()
  }
  get('http://127.0.0.1:9461/livez', (answer) => answer.resume().on('end', () => end(answer.statusCode === 200)))
    .on('error', () => end(false))
})
process.on('SIGTERM', () => { console.log('asked', answers, Math.round(longest)); process.exit() })
console.log('asking')
const loop = () => void ask().then(() => setTimeout(loop, 50))
loop()
`

async function startAsking(node: FixtureNode, pid: number) {
  const service = await node.start([process.execPath, '-e', `const PID = ${pid}\n${ASKING}`])
  await service.waitFor(/asking/)
  return {
    async stop() {
      await service.stop()
      await service.settled()
      const [, answers, longest] = /asked (\d+) (\d+)/.exec(service.stdout) ?? []
      return { answers: Number(answers), longest: Number(longest) }
    },
  }
}

t.test('what goes wrong on a node is an alert, and its cure ends it', async (t) => {
  const { node, registry, authority, agent } = await nodeWithRegistry(t, HOST, { generation })
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

  for (const [name, text] of partOf(Object.entries(HOSTILE), 2)) {
    const asking = await startAsking(node, daemon.service.pid)
    await agent.configure(trust, { [FRAGMENT]: text })
    const during = await daemon.until(({ problems }) => problems.some(({ message }) => message.includes(FRAGMENT)))
    await see(`a fragment of ${name}`, 'RegistryTrustConfigRejected warning')
    t.match((await daemon.get('/metrics')).body, /^registry_trust_config_valid 0$/m)
    t.match(during, { registries: [{ host: HOST, state: 'trusted' }] }, 'the last good configuration is in force')
    const { answers, longest } = await asking.stop()
    t.ok(answers >= 5 && longest < 1_000, `${name}: /livez answered ${answers} times, after ${longest} ms at most`)
    await agent.configure(trust, { [FRAGMENT]: undefined })
    await see('the fragment is gone')
  }

  await node.run(['chmod', '600', `${CERTS_D}/hosts.toml`])
  await see('drift that is only reported', 'RegistryTrustDriftNotHealed warning containerd-hosts')
  await agent.configure({ ...trust, drift: { resync: '1s' } })
  await see('drift that is healed')

  const configToml = await node.readFile(CONFIG)
  await node.writeFile(CONFIG, `${configToml}\n[[[ x\n`)
  const isTold = (code: string) => daemon.until(({ problems }) => problems.some((problem) => problem.code === code))
  await isTold('CONTAINERD_CONFIG_UNREADABLE')
  await see('config.toml is broken under a running containerd', 'RegistryTrustContainerdConfigBroken critical')
  await node.writeFile(CONFIG, configToml)
  await see('config.toml is whole again')

  // Nobody can tell then whose this is.
  await node.writeFile('/usr/local/share/ca-certificates/theirs.crt', stranger.authority.pem)
  await node.writeFile(`${STATE}/state.json`, '{"version": 1, "gener')
  await isTold('STATE_SET_ASIDE')
  const told = ['OWNERSHIP_UNSURE', 'STATE_SET_ASIDE'].map((code) => `RegistryTrustProblem warning ${code}`)
  await see('state.json is damaged', ...told)
  await node.run(['sh', '-c', 'rm "$1"/*.damaged-*', 'sh', STATE])
  await agent.apply()
  await see('somebody has looked at it')

  await node.run(['mount', '-o', 'bind,ro', STATE, STATE])
  const failing = ['RegistryTrustProblem warning TARGET_READ_ONLY', 'RegistryTrustReconcileFailing warning']
  await see('every run fails, as the state folder is read-only', ...failing)
  await node.run(['umount', STATE])
  await daemon.until(({ state }) => state === 'converged')

  // From here on for a quarter of an hour, failed runs have their cause in this.
  await node.stopContainerd()
  await see('containerd is down', 'RegistryTrustContainerdDown critical')
  await node.startContainerd()
  await see('containerd is back')

  await daemon.service.stop()
  const gone = { 'worker-1': ['RegistryTrustAgentDown warning'], fleet: ['RegistryTrustAgentAbsent critical'] }
  t.strictSame(await settle(prometheus, gone), gone)
})
