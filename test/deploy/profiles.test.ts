// The other profiles, run as they are rendered: each does what it says with what it is given, and leaves the node when
// it is told to. In the Pod of the profile "full" the commands of the runbooks are run.
import t, { type Test } from 'tap'
import { CriPod, type RunningContainer } from '../fixtures/deploy/cri-pod.ts'
import { asCommand, deployedNode, untilStatus, withoutMount } from '../fixtures/deploy/deployed-node.ts'
import { insideThePod } from '../fixtures/deploy/documented-commands.ts'
import { imageUnavailable } from '../fixtures/deploy/image.ts'
import { podSpec, render } from '../fixtures/deploy/objects.ts'
import { contents, TRUST_FOLDERS } from '../fixtures/e2e/agent-on-node.ts'
import { CONTAINERD_CONFIG, configForContainers } from '../fixtures/node/fixture-node.ts'
import { eachSystemdGeneration } from '../fixtures/node/node-tests.ts'
import { until } from '../fixtures/node/private-containerd.ts'
import { defaultConfig, withConfigPath } from '../fixtures/node/sandbox-node.ts'

const TOKEN = 'token-of-the-secret'

/** What the agent answers to a command without a token, with a wrong one, and with that of the Secret. */
async function posts(agent: RunningContainer): Promise<readonly number[]> {
  const script = `const answers = []
for (const token of [undefined, 'wrong', '${TOKEN}']) {
  const headers = token === undefined ? {} : { authorization: 'Bearer ' + token }
  answers.push((await fetch('http://127.0.0.1:9461/reconcile', { method: 'POST', headers })).status)
}
console.log(JSON.stringify(answers))`
  return JSON.parse(await agent.script(script)) as readonly number[]
}

/** Of the node, and of the registry behind it. */
const SAYS: { readonly [command: string]: RegExp } = {
  'registry-trust status': /converged[\s\S]*harbor\.example\.net/,
  'registry-trust probe harbor.example.net': /trusted/,
}

/** Every command that the runbooks send into the Pod, in the containers of the built image. */
async function runsDocumentedCommands(t: Test, pod: CriPod): Promise<void> {
  const agent = pod.container('agent')
  const commands = [...new Set(insideThePod().map(({ text }) => text))]
  t.ok(commands.length >= 3, commands.join(', '))
  for (const command of [...Object.keys(SAYS), ...commands.filter((one) => SAYS[one] === undefined)])
    await t.test(command, async (t) => {
      const { code, stdout, stderr } = await agent.exec(command.split(' '))
      t.equal(code, 0, `${stdout}${stderr}`)
      t.match(stdout, SAYS[command] ?? /\S/)
      t.equal(stderr, '')
    })
  await t.test('a word that is no command is refused as on any machine', async (t) => {
    t.match(await agent.exec(['registry-trust', 'staus']), { code: 64, stderr: /did you mean "?status/ })
  })
  await t.test('the sidecar has its command too', async (t) => {
    t.match(await pod.container('sidecar').exec(['registry-trust-sidecar', 'agent']), {
      code: 64,
      stderr: /this file runs the sidecars/,
    })
  })
}

if (imageUnavailable() === undefined) {
  eachSystemdGeneration(t, 'the other profiles, one after the other', async (t, generation) => {
    const { node, witness, registry, configMaps, pod: run } = await deployedNode(t, generation)
    const [facts, tree] = [await witness.facts(), await contents(node, ...TRUST_FOLDERS)]
    t.test('plain-sidecars: the same for older clusters, whatever starts first', async (t) => {
      const pod = await run(podSpec(await render('overlays/plain-sidecars')))
      await untilStatus(pod.container('agent'), ({ state }) => state === 'converged')
      t.match(await node.pull(registry.reference()), { ok: true })
      await pod.remove()
    })

    t.test('full finds the work of another profile done', async (t) => {
      const [pid, done] = [await node.containerdPid(), await contents(node, ...TRUST_FOLDERS)]
      const pod = await run(podSpec(await render('overlays/full')))
      await untilStatus(pod.container('agent'), ({ state }) => state === 'converged')
      t.equal(await contents(node, ...TRUST_FOLDERS), done)
      t.equal(await node.containerdPid(), pid, 'containerd was not restarted')
      await runsDocumentedCommands(t, pod)
      await pod.remove()
    })

    t.test('uninstall: the node is what it was, and the Pod says so', async (t) => {
      const pod = await run(podSpec(await render('overlays/uninstall')))
      t.match(await pod.container('uninstall').status(), { state: 'CONTAINER_EXITED', exit_code: 0 })
      t.comment(await pod.container('uninstall').log())
      t.match(await pod.container('done').status(), { state: 'CONTAINER_RUNNING' })
      t.equal(await contents(node, ...TRUST_FOLDERS), tree)
      t.match(await node.pull(registry.reference()), { ok: false, message: /x509/ })
      t.same(await witness.facts(), facts)
      // Node.js has a handler of its own until the program has set one, and what that does, process 1 of a container ignores.
      await until(async () => /succeeded/.test(await pod.container('done').log()), 20_000)
      await pod.container('done').stop(20)
      t.match(await pod.container('done').status(), { exit_code: 0 })
      await pod.remove()
    })

    t.test('hosts-proof: host directories alone, no restart', async (t) => {
      // The administrator has set config_path: this profile and the next cannot.
      await node.stopContainerd()
      await node.writeFile(CONTAINERD_CONFIG, withConfigPath(configForContainers(defaultConfig(generation))))
      await node.startContainerd()
      const [pid, before] = [await node.containerdPid(), await contents(node, ...TRUST_FOLDERS.slice(1))]
      t.match(await node.pull(registry.reference()), { ok: false, message: /x509/ })
      const spec = podSpec(await render('overlays/hosts-proof'))
      const planned = await run(asCommand(spec, 'plan', '--json'))
      const plan = planned.container('agent')
      t.equal(await plan.ended(), 2)
      const rehearsed = 'rehearsed, although nothing tells where containerd is'
      t.match(await plan.output('stdout'), /"verdict": "passed"/, rehearsed)
      await planned.remove()
      const pod = await run(spec)
      const { registries } = await untilStatus(pod.container('agent'), ({ state }) => state === 'converged')
      t.match(registries, [{ state: 'trusted' }])
      t.match(await node.pull(registry.reference()), { ok: true })
      t.equal(await node.containerdPid(), pid, 'containerd was not restarted')
      t.equal(await contents(node, ...TRUST_FOLDERS.slice(1)), before, 'the system store is as it was')
      const write =
        "import fs from 'node:fs'; try { fs.writeFileSync('/host/etc/containerd/config.toml', '') } catch (error) { console.log(error.code) }"
      t.equal(await pod.container('agent').script(write), 'EROFS')
      await pod.remove()
      const removal = await run(podSpec(await render('overlays/uninstall')))
      t.match(
        await removal.container('uninstall').status(),
        { exit_code: 0 },
        await removal.container('uninstall').log(),
      )
      t.match(await node.pull(registry.reference()), { ok: false, message: /x509/ })
      await removal.remove()
    })

    t.test('hosts: without any socket, proved by rehearsal', async (t) => {
      const pod = await run(podSpec(await render('overlays/hosts')))
      const { registries } = await untilStatus(pod.container('agent'), ({ state }) => state === 'converged')
      t.match(registries, [{ state: 'rehearsed', finding: { code: 'trusted' } }])
      t.same(await posts(pod.container('agent')), [403, 403, 403], 'there is no Secret with a token')
      t.match(await node.pull(registry.reference()), { ok: true })
      await pod.remove()
      // From here on nothing but the node's hosts file knows the name.
      await node.setHost(registry.host, undefined)
      await node.run(['sh', '-c', 'printf "%s %s\\n" "$1" "$2" >>/etc/hosts', 'sh', registry.address, registry.host])
      const inThePod = withoutMount(podSpec(await render('overlays/audit')), 'agent', '/etc/hosts')
      const blind = await run(inThePod)
      const told = await untilStatus(
        blind.container('agent'),
        ({ registries: [first] }) => first !== undefined && first.finding.code !== 'not-proved-yet',
      )
      t.match(told.registries, [{ finding: { code: 'dns' } }], 'it is unknown without the mount of that file')
      await blind.remove()
      const tree = await contents(node, ...TRUST_FOLDERS)
      const secret = { 'registry-trust-http': { token: `${TOKEN}\n` } }
      const audit = await CriPod.run(node, podSpec(await render('overlays/audit')), {
        configMaps: { ...configMaps, ...secret },
      })
      await untilStatus(audit.container('agent'), ({ registries: [first] }) => first?.state === 'rehearsed')
      t.same(await posts(audit.container('agent')), [401, 401, 202])
      t.equal(await contents(node, ...TRUST_FOLDERS), tree)
    })
  })
}
