// Every command that the runbooks send into the Pod is run there: in the container of the built image, as rendered,
// through the CRI of a node.
import t from 'tap'
import { deployedNode, untilStatus } from '../fixtures/deploy/deployed-node.ts'
import { insideThePod } from '../fixtures/deploy/documented-commands.ts'
import { imageUnavailable } from '../fixtures/deploy/image.ts'
import { podSpec, render } from '../fixtures/deploy/objects.ts'
import { newestSystemdGeneration } from '../fixtures/node/node-tests.ts'

t.setTimeout(480_000)

if (imageUnavailable() === undefined)
  newestSystemdGeneration(t, "the runbooks' commands in the image's own containers", async (t, generation) => {
    const { pod: run } = await deployedNode(t, generation)
    const pod = await run(podSpec(await render('overlays/full')))
    const agent = pod.container('agent')
    await untilStatus(agent, ({ state }) => state === 'converged')

    const commands = [...new Set(insideThePod().map(({ text }) => text))]
    t.ok(commands.length >= 3, commands.join(', '))
    for (const command of commands)
      t.test(command, async (t) => {
        const { code, stdout, stderr } = await agent.exec(command.split(' '))
        t.equal(code, 0, `${stdout}${stderr}`)
        t.match(stdout, /\S/)
        t.equal(stderr, '')
      })

    t.test('status speaks of the node, and probe of the registry behind it', async (t) => {
      t.match((await agent.exec(['registry-trust', 'status'])).stdout, /converged[\s\S]*harbor\.example\.net/)
      t.match((await agent.exec(['registry-trust', 'probe', 'harbor.example.net'])).stdout, /trusted/)
    })

    t.test('a word that is no command is refused as on any machine', async (t) => {
      t.match(await agent.exec(['registry-trust', 'staus']), { code: 64, stderr: /did you mean "?status/ })
    })

    t.test('the sidecar has its command too', async (t) => {
      t.match(await pod.container('sidecar').exec(['registry-trust-sidecar', 'agent']), {
        code: 64,
        stderr: /this file runs the sidecars/,
      })
    })
  })
