// The other half of the private-registry trap: a node that trusts its registry starts no Pod while the sandbox (pause)
// image named in config.toml cannot be pulled.
import { readFile } from 'node:fs/promises'
import t from 'tap'
import { AgentOnNode, BY_SIGNAL, generationsToTest, startPrivateRegistry } from '../fixtures/e2e/agent-on-node.ts'
import { CONTAINERD_CONFIG, configForContainers } from '../fixtures/node/fixture-node.ts'
import { type Generation, tool } from '../fixtures/node/generations.ts'
import { buildImage } from '../fixtures/node/image.ts'
import type { FixtureRegistry } from '../fixtures/node/registry.ts'
import { defaultConfig, startSandboxNode, withConfigPath } from '../fixtures/node/sandbox-node.ts'
import { partOf } from '../fixtures/turn.ts'

const HOST = 'harbor.example.net'
const PAUSE = `${HOST}/library/pause:3.10`
const FOREIGN = `${HOST}/library/pause-for-another-machine:3.10`

const [first] = generationsToTest()
/** One of those before containerd 2, which name the image alike, and the others. */
const tried = [
  ...partOf(generationsToTest().filter(isBefore2), 2),
  ...generationsToTest().filter((generation) => !isBefore2(generation)),
]

for (const generation of tried)
  t.test(`containerd ${generation.version}: no Pod before, Pods afterwards`, { timeout: 240_000 }, async (t) => {
    // The image that a default configuration names is on the internet, and this node reaches none.
    const config = withConfigPath(configForContainers(defaultConfig(generation)))
    const node = await startSandboxNode({ generation, config })
    t.teardown(() => node.dispose())
    const { registry, authority } = await startPrivateRegistry(node, HOST)
    await storePause(registry)
    const agent = await AgentOnNode.on(node)
    const configure = (sandboxImage?: string) =>
      agent.configure(
        {
          registries: [{ host: HOST, ca: 'ca.pem' }],
          targets: { systemTrust: { enabled: false } },
          ...(sandboxImage === undefined ? {} : { containerd: { sandboxImage } }),
          ...BY_SIGNAL,
        },
        { 'ca.pem': authority.pem },
      )
    const before = await node.readFile(CONTAINERD_CONFIG)
    t.match(await node.runPod('before'), /failed to (?:get|start) sandbox|failed to pull/, 'no Pod starts before')

    await configure()
    t.equal((await agent.apply()).code, 0)
    const doctor = await agent.command('doctor')
    t.match(doctor.stdout, /sandbox image .* is not on this node/)
    t.match(doctor.stdout, /containerd\.sandboxImage/, 'one cure')
    t.match(doctor.stdout, /mirror for its host/, 'the other cure')

    // What keeps the image from being set is asked of one generation: it is decided before any edit.
    for (const [image, why] of generation !== tried[0]
      ? []
      : ([
          [`${HOST}/library/nothing:1`, /library\/nothing:1/],
          [FOREIGN, /is for |no match for platform/],
        ] as const)) {
      await configure(image)
      const held = await agent.apply()
      const found = held.report.problems.find(({ code }) => code === 'SANDBOX_IMAGE_NOT_READY')
      t.match(found?.message, why, `${image} is not set`)
      t.same(held.report.restarts, [], 'nothing is restarted for it')
      t.equal(await node.readFile(CONTAINERD_CONFIG), before, 'config.toml is as before')
    }

    await configure(PAUSE)
    const applied = await agent.apply()
    t.equal(applied.code, 0, JSON.stringify(applied.report.problems))
    t.match(applied.report.restarts, [{ result: 'ok' }], 'one restart')
    t.match(applied.report.rehearsal, { verdict: 'passed' })
    t.equal(changedLines(before, await node.readFile(CONTAINERD_CONFIG)), 1, 'one line differs')
    t.equal(await node.runPod('after'), undefined, 'a Pod starts afterwards')
    const again = await agent.apply()
    t.match(again.report, { outcome: 'unchanged', restarts: [] })

    const uninstalled = await agent.command('uninstall', '--json')
    t.equal(uninstalled.code, 0, uninstalled.stdout + uninstalled.stderr)
    t.equal(await node.readFile(CONTAINERD_CONFIG), before, 'config.toml is byte for byte as before')
    t.type(await node.runPod('uninstalled'), 'string', 'and again no Pod starts')
  })

if (first !== undefined)
  t.test('with config_path to set too, it takes a second restart, and lines of others stay', async (t) => {
    const node = await startSandboxNode({ generation: first, config: configForContainers(defaultConfig(first)) })
    t.teardown(() => node.dispose())
    const { registry, authority } = await startPrivateRegistry(node, HOST)
    await storePause(registry)
    const agent = await AgentOnNode.on(node)
    const registries = [{ host: HOST, ca: 'ca.pem' }]
    const targets = { systemTrust: { enabled: false } }
    const files = { 'ca.pem': authority.pem }
    const before = await node.readFile(CONTAINERD_CONFIG)
    await agent.configure({ registries, targets, containerd: { sandboxImage: PAUSE }, ...BY_SIGNAL }, files)
    const applied = await agent.apply()
    t.equal(applied.code, 0, JSON.stringify(applied.report.problems))
    t.equal(applied.report.restarts.length, 2, 'trust first, then the image that it lets through')
    t.equal(await node.runPod('after'), undefined)

    await node.writeFile(CONTAINERD_CONFIG, `# a line of somebody else\n${await node.readFile(CONTAINERD_CONFIG)}`)
    await agent.configure({ registries, targets, ...BY_SIGNAL }, files)
    const withdrawn = await agent.apply()
    t.equal(withdrawn.code, 0, JSON.stringify(withdrawn.report))
    t.equal(
      changedLines(`# a line of somebody else\n${before}`, await node.readFile(CONTAINERD_CONFIG)),
      1,
      'config_path',
    )
    t.equal((await agent.command('uninstall', '--json')).code, 0)
    t.equal(await node.readFile(CONTAINERD_CONFIG), `# a line of somebody else\n${before}`)
  })

function isBefore2({ label }: Generation): boolean {
  return label.startsWith('1.')
}

async function storePause(registry: FixtureRegistry): Promise<void> {
  const busybox = { path: 'bin/busybox', bytes: await readFile(tool('busybox-static', 'busybox')), mode: 0o755 }
  const pause = buildImage([busybox], ['/bin/busybox', 'sleep', '1000000'])
  await registry.store('library/pause', '3.10', pause)
  const foreign = process.arch === 'arm64' ? 'amd64' : 'arm64'
  await registry.store(
    'library/pause-for-another-machine',
    '3.10',
    buildImage([{ ...busybox, path: 'bin/other' }], ['/bin/other'], foreign),
  )
}

function changedLines(before: string, after: string): number {
  const [left, right] = [before.split('\n'), after.split('\n')]
  return left.length === right.length ? left.filter((line, at) => line !== right[at]).length : Number.NaN
}
