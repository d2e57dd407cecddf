// The worst moment: containerd is down on a configuration that it does not take, and the agent is killed. Nobody can
// start a container now, so the node has to come back by what is running.
import { readFileSync } from 'node:fs'
import t from 'tap'
import { deployedNode, untilStatus } from '../fixtures/deploy/deployed-node.ts'
import { imageUnavailable } from '../fixtures/deploy/image.ts'
import { podSpec, render } from '../fixtures/deploy/objects.ts'
import { eachSystemdGeneration } from '../fixtures/node/node-tests.ts'
import { until } from '../fixtures/node/private-containerd.ts'

const CONFIG = '/etc/containerd/config.toml'

/** The rehearsal passes; the unit fails, slowly, as soon as config_path is there. */
const SABOTAGE = `[Service]
ExecStartPre=/bin/sh -c 'grep -q certs.d ${CONFIG} || exit 0; sleep 2; exit 1'
`

if (imageUnavailable() === undefined)
  eachSystemdGeneration(t, 'SIGKILL of the agent while containerd is down', async (t, generation) => {
    const {
      node,
      witness,
      pod: run,
    } = await deployedNode(t, generation, {
      files: { '/etc/systemd/system/containerd.service.d/sabotage.conf': SABOTAGE },
    })
    const [facts, original] = [await witness.facts(), await node.readFile(CONFIG)]
    const spec = podSpec(await render('overlays/full'))
    const pod = await run(spec)
    const [agent, sidecar] = [pod.container('agent'), pod.container('sidecar')]
    const pid = String(await agent.pid())

    await until(() => readFileSync(node.path(CONFIG), 'utf8').includes('certs.d'), 20_000)
    await until(async () => (await node.criVersion()).ok === false)
    await node.run(['kill', '-KILL', pid])
    const killed = performance.now()
    t.match(await node.criVersion(), { ok: false }, 'containerd is down when the agent dies')

    await until(() => readFileSync(node.path(CONFIG), 'utf8') === original, 20_000)
    t.match(await node.ready({ timeoutMs: 20_000 }), { ok: true })
    t.comment(`containerd answers again ${Math.round(performance.now() - killed)} ms after the agent died`)
    t.match(await agent.status(), { state: 'CONTAINER_EXITED' })
    t.match(await sidecar.status(), { state: 'CONTAINER_RUNNING' })
    await until(async () => (await sidecar.log()).includes('restart-settled'), 20_000)
    t.match(await sidecar.log(), /restart-taken-over[\s\S]*config-put-back[\s\S]*restart-settled/)
    t.same(await witness.facts(), facts)

    const [container] = spec.containers
    if (container === undefined) throw new Error('the Pod has no container')
    const next = await pod.start(container)
    const { state } = await untilStatus(next, ({ state }) => /^(rolled-back|restart-pending)$/.test(state))
    t.comment(`the next agent: ${state}`)
    t.equal(
      await node.readFile(CONFIG),
      original,
      'the next agent, as the kubelet starts it, does not try the same at once',
    )
    t.match(await node.ready(), { ok: true })
    t.same(await witness.facts(), facts)
  })
