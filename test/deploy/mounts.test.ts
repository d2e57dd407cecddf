// Every mount is there for something: without it a named feature fails, and says so. What nothing needs is not mounted.
// Of the mounts another part is taken away each day, of each kind some; all of them with REGISTRY_TRUST_FULL=1.
import { X509Certificate } from 'node:crypto'
import t from 'tap'
import { CriPod } from '../fixtures/deploy/cri-pod.ts'
import { asCommand, type DeployedNode, deployedNode, HOST, withoutMount } from '../fixtures/deploy/deployed-node.ts'
import { imageUnavailable } from '../fixtures/deploy/image.ts'
import { allContainers, type PodSpec, podSpec, render } from '../fixtures/deploy/objects.ts'
import type { ApplyReport } from '../fixtures/e2e/agent-on-node.ts'
import { newestSystemdGeneration } from '../fixtures/node/node-tests.ts'
import { partOf } from '../fixtures/turn.ts'

/** The certificates that Debian ships, and by "!" those of them that the node shall not trust. */
const CONF = '/etc/ca-certificates.conf'

type Outcome = { readonly code: number; readonly answer: string }

type Case = { readonly container: string; readonly mountPath: string; readonly feature: string; readonly fails: RegExp }

/** Shown by `plan`, which writes nothing. */
const BY_PLAN: readonly Case[] = [
  { container: 'agent', mountPath: '/etc/registry-trust', feature: 'the configuration', fails: /CONFIG_MISSING/ },
  { container: 'agent', mountPath: '/run/registry-trust', feature: 'CRI and restarts', fails: /CRI_UNREACHABLE/ },
  {
    container: 'agent',
    mountPath: '/run',
    feature: 'the rehearsal (containerd 2 makes a folder there)',
    fails: /"not-rehearsed"/,
  },
  {
    container: 'agent',
    mountPath: '/host/usr',
    feature: "the rehearsal (the node's own containerd)",
    fails: /"not-rehearsed"/,
  },
  {
    container: 'agent',
    mountPath: '/host/etc/containerd',
    feature: 'the edit of config.toml',
    fails: /^(?![\s\S]*"edit"[\s\S]*config\.toml)/,
  },
  {
    container: 'agent',
    mountPath: '/host/etc/ssl/certs',
    feature: 'the system store',
    fails: /^(?![\s\S]*\/etc\/ssl\/certs\/ca-certificates\.crt)/,
  },
  {
    container: 'agent',
    mountPath: '/host/usr/local/share/ca-certificates',
    feature: 'the anchor that update-ca-certificates reads',
    fails: /^(?![\s\S]*"\/usr\/local\/share\/ca-certificates\/ca\.crt)/,
  },
  { container: 'sidecar', mountPath: '/host/run/containerd', feature: 'CRI', fails: /CRI_UNREACHABLE/ },
  { container: 'sidecar', mountPath: '/run/registry-trust', feature: 'CRI and restarts', fails: /CRI_UNREACHABLE/ },
]

/** Shown by `apply`: what could not be restarted waits. */
const BY_APPLY: readonly Case[] = [
  {
    container: 'agent',
    mountPath: '/host/var/lib/registry-trust',
    feature: "the agent's record of what it owns",
    fails: /STATE|LOCK|WRITE|read-only|EROFS/i,
  },
  { container: 'sidecar', mountPath: '/host/run/dbus', feature: 'the restart', fails: /systemd does not answer/ },
  {
    container: 'sidecar',
    mountPath: '/host/etc/containerd',
    feature: 'the way back without the agent',
    fails: /cannot put .*config\.toml back/,
  },
  {
    container: 'sidecar',
    mountPath: '/host/var/lib/registry-trust',
    feature: 'the record of the restart',
    fails: /is not the recorded one/,
  },
]

/** And by the last `apply`: containerd is restarted, but what it trusts then cannot be proved. */
const LAST: Case = {
  container: 'sidecar',
  mountPath: '/etc/registry-trust',
  feature: 'test pulls',
  fails: /is not a declared registry/,
}

/**
 * The node's hosts file matters where the agent itself looks a name up: test/deploy/profiles.test.ts. The note of the
 * fleet component: test/cluster/fleet.test.ts, test/sidecar/cri-proxy.test.ts.
 */
const NOT_SHOWN_HERE = ['agent /etc/hosts', 'agent /etc/registry-trust-fleet', 'sidecar /etc/registry-trust-fleet']

if (imageUnavailable() === undefined)
  newestSystemdGeneration(t, 'mounts', async (t, generation) => {
    const deployed = await deployedNode(t, generation)
    const spec = podSpec(await render('overlays/full'))
    const outcome = async (changed: typeof spec, run = deployed.pod): Promise<Outcome> => {
      const pod = await run(changed)
      const agent = pod.container('agent')
      const code = await agent.ended()
      const answer = `${await agent.output('stdout')}\n${await agent.log()}`
      await pod.remove()
      return { code, answer }
    }

    t.test('every mount of the rendered Pod is in these tables', async (t) => {
      const mounted = allContainers(spec).flatMap(({ name, volumeMounts = [] }) =>
        volumeMounts.map(({ mountPath }) => `${name} ${mountPath}`),
      )
      const tested = [...BY_PLAN, ...BY_APPLY, LAST].map(({ container, mountPath }) => `${container} ${mountPath}`)
      t.same(mounted.toSorted(), [...tested, ...NOT_SHOWN_HERE].toSorted())
    })

    t.test('with all of them the plan is whole', async (t) => {
      const { code, answer } = await outcome(asCommand(spec, 'plan', '--json'))
      t.equal(code, 2, answer)
      t.match(answer, /"verdict": ?"passed"/)
      for (const { mountPath, fails } of BY_PLAN) t.notMatch(answer, fails, `${mountPath}: not failing yet`)
    })

    for (const { container, mountPath, feature, fails } of partOf(BY_PLAN, 5))
      t.test(`${container} without ${mountPath}: ${feature}`, async (t) => {
        const { answer } = await outcome(withoutMount(asCommand(spec, 'plan', '--json'), container, mountPath))
        t.match(answer, fails)
      })

    t.test('doctor names what the Pod lacks, and the profile or the component that has it', async (t) => {
      const { runWith } = await distrusting(deployed)
      const lacking = await outcome(withoutMount(asCommand(spec, 'doctor'), 'agent', '/host/etc/containerd'), runWith)
      t.match(lacking.answer, /error {2}\/etc\/containerd\/certs\.d: is not mounted from the node.*hosts\.toml/)
      t.match(lacking.answer, /info {2}\/etc: is not mounted.* for distrust\n.*daemonset\/components\/distrust/)
      const told = lacking.answer.split('\n').filter((line) => /is not mounted|is mounted read-only/.test(line))
      t.equal(new Set(told.map((line) => line.replace(/^\S+ stdout F /, ''))).size, 2, 'and nothing else')
      const whole = podSpec(await render('../test/fixtures/deploy/with-distrust'))
      t.notMatch((await outcome(asCommand(whole, 'doctor'), runWith)).answer, /is not mounted|is mounted read-only/)
      const hosts = podSpec(await render('overlays/hosts'))
      const { code, answer } = await outcome(asCommand(hosts, 'doctor'))
      t.equal(code, 3, answer)
      t.match(answer, /error {2}restart: config_path is not set/)
      t.match(
        answer,
        /info {2}\/etc\/ssl\/certs: is mounted read-only, which is needed for targets\.systemTrust\n.*profile `full`/,
      )
      t.notMatch(answer, /CRI_UNREACHABLE|containerd\.sock/)
    })

    // Before anything else is applied, so that this profile can undo all that is on the node.
    t.test(
      "addresses need the hosts file: told without it, and with the component the Pod writes the node's",
      async (t) => {
        const { node, configMaps } = deployed
        const registries = [{ host: HOST, ca: 'ca.pem', addresses: ['192.0.2.77'] }]
        const trust = JSON.stringify({ registries })
        const changed = { 'registry-trust': { ...configMaps['registry-trust'], 'trust.yaml': trust } }
        const runWith = (podOf: typeof spec) => CriPod.run(node, podOf, { configMaps: changed })
        const before = await node.run(['stat', '-c', '%i %a', '/etc/hosts'])
        const text = await node.readFile('/etc/hosts')
        const lacking = await outcome(asCommand(spec, 'plan'), runWith)
        t.match(lacking.answer, /TARGET_NOT_MOUNTED[\s\S]*components\/hosts-file/)
        const whole = podSpec(await render('../test/fixtures/deploy/with-hosts-file'))
        const applied = await outcome(asCommand(whole, 'apply', '--json'), runWith)
        t.equal(await node.readFile('/etc/hosts'), `${text}192.0.2.77 ${HOST} # registry-trust-agent\n`, applied.answer)
        const gone = await outcome(asCommand(whole, 'uninstall'), runWith)
        t.equal(gone.code, 0, gone.answer)
        t.equal(await node.readFile('/etc/hosts'), text, gone.answer)
        t.equal(await node.run(['stat', '-c', '%i %a', '/etc/hosts']), before)
      },
    )

    for (const { container, mountPath, feature, fails } of [...partOf(BY_APPLY, 4), LAST])
      t.test(`${container} without ${mountPath}: ${feature}`, async (t) => {
        const { code, answer } = await outcome(withoutMount(asCommand(spec, 'apply', '--json'), container, mountPath))
        t.not(code, 0)
        t.match(answer, fails)
      })

    t.test('and with all of them again: what could not be proved is, and nothing is left to do', async (t) => {
      const { code, answer } = await outcome(asCommand(spec, 'apply', '--json'))
      t.equal(code, 0, answer)
      t.match(JSON.parse(answer.slice(0, answer.lastIndexOf('\n}') + 2)) as ApplyReport, { outcome: 'unchanged' })
    })

    t.test('distrust needs /etc: with the component the list of Debian changes', async (t) => {
      const { runWith, name } = await distrusting(deployed)
      const whole = podSpec(await render('../test/fixtures/deploy/with-distrust'))
      const { code, answer } = await outcome(asCommand(whole, 'apply', '--json'), runWith)
      t.equal(code, 0, answer)
      t.ok((await deployed.node.readFile(CONF)).split('\n').includes(`!${name}`), name)
    })
  })

/** Runs Pods whose configuration distrusts a certificate that Debian ships, and its name in Debian's list. */
async function distrusting({ node, configMaps }: DeployedNode) {
  const [name = ''] = (await node.readFile(CONF)).split('\n').filter((line) => /^mozilla\//.test(line))
  const { fingerprint256 } = new X509Certificate(await node.readFile(`/usr/share/ca-certificates/${name}`))
  const fingerprint = `sha256:${fingerprint256.replaceAll(':', '').toLowerCase()}`
  const trust = { registries: [{ host: HOST, ca: 'ca.pem' }], distrust: [{ fingerprint }] }
  const changed = { 'registry-trust': { ...configMaps['registry-trust'], 'trust.yaml': JSON.stringify(trust) } }
  const runWith = (podOf: PodSpec) => CriPod.run(node, podOf, { configMaps: changed })
  return { runWith, name }
}
