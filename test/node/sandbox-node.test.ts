// Proves the fixture itself: what the other tests conclude from a sandbox node is only as good as this.
import { spawn } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { createAuthority, issueServer } from './certificates.ts'
import { CONTAINERD_CONFIG } from './fixture-node.ts'
import { leftovers, tracesOf } from './leftovers.ts'
import { eachGeneration, newestGeneration, sandboxNode } from './node-tests.ts'
import { startRegistry } from './registry.ts'
import { CERTS_D, defaultConfig, type SandboxNode, startSandboxNode, withConfigPath } from './sandbox-node.ts'

async function trustByHand(node: SandboxNode, host: string, caPem: string): Promise<void> {
  await node.writeFile(`${CERTS_D}/${host}/ca.crt`, caPem)
  await node.writeFile(`${CERTS_D}/${host}/hosts.toml`, `server = "https://${host}"\nca = "ca.crt"\n[host]\n`)
}

eachGeneration(t, 'boots with the expected version and its own default configuration', async (t, generation) => {
  const node = await sandboxNode(t, { generation })
  const version = await node.criVersion()
  t.match(version, { ok: true, name: 'containerd' })
  t.ok(version.ok && version.version.startsWith(generation.version), 'CRI tells the version of the file')
  t.equal(await node.readFile(CONTAINERD_CONFIG), defaultConfig(generation), 'byte for byte')
  t.match(defaultConfig(generation), new RegExp(`^version = ${generation.expected.configVersion}$`, 'm'))
  t.ok(defaultConfig(generation).includes(generation.expected.registryPlugin))

  const status = await node.criStatus()
  const reported = status.conditions.some((condition) => condition.type === 'ContainerdHasNoDeprecationWarnings')
  t.equal(reported, generation.expected.reportsDeprecations)
  t.equal('registry' in (status.info['config'] as object), generation.expected.statusShowsRegistry)
})

eachGeneration(
  t,
  'refuses a private registry by name and by address until its CA is put in by hand',
  async (t, generation) => {
    const node = await sandboxNode(t, { generation, config: withConfigPath(defaultConfig(generation)) })
    const ca = await createAuthority(node.scratch, 'Private Root')
    const address = await node.newAddress()
    const certificate = await issueServer(ca, node.scratch, ['harbor.example.net', address])
    const registry = await startRegistry(node, { host: 'harbor.example.net', certificate, address })
    const unknownAuthority = { ok: false, code: 'UNKNOWN', message: /x509: certificate signed by unknown authority/ }

    t.match(await node.pull(registry.reference()), unknownAuthority)
    t.match(await node.pull(registry.referenceByAddress()), unknownAuthority)
    t.same(await registry.accessLog(), [], 'no request came through')

    await trustByHand(node, 'harbor.example.net', ca.pem)
    await trustByHand(node, address, ca.pem)
    t.match(await node.pull(registry.reference()), { ok: true })
    t.match(await node.pull(registry.referenceByAddress()), { ok: true })
    t.match((await registry.accessLog())[0], {
      method: 'HEAD',
      url: '/v2/library/hello/manifests/1',
      status: 200,
      userAgent: /containerd/,
    })
    t.match(await node.pull(registry.reference('library/hello:missing')), { ok: false, code: 'NOT_FOUND' })
    t.equal(await node.restarts(), 0, 'no restart was needed')
  },
)

eachGeneration(
  t,
  'starts a killed containerd again, and a running container does not notice',
  async (t, generation) => {
    const node = await sandboxNode(t, { generation, runContainers: true })
    const container = await node.runContainer()
    const before = await container.facts()
    t.match(before, { state: 'CONTAINER_RUNNING' })
    const program = async () => (await node.readFile(`/proc/${before.pid}/cmdline`)).split('\0')[1]
    // Started is told a moment before runc becomes the program.
    for (const deadline = Date.now() + 30_000; (await program()) === 'init' && Date.now() < deadline; ) await sleep(20)
    t.equal(await program(), 'sleep', 'its pid is one on the node')

    const pid = await node.signalContainerd('KILL')
    t.not(await node.restartedSince(pid), pid)
    t.equal(await node.restarts(), 1)
    t.same(node.exits(), [137])
    t.same(await container.facts(), before)

    await node.stopContainerd()
    t.equal(await node.containerdPid(), undefined)
    t.match(await node.criVersion(), { ok: false, code: 'UNAVAILABLE' })
    await node.startContainerd()
    t.same(await container.facts(), before)
  },
)

eachGeneration(t, 'leaves no process, mount, namespace, cgroup or file behind', async (t, generation) => {
  const node = await startSandboxNode({ generation, runContainers: true })
  const ca = await createAuthority(node.scratch, 'Private Root')
  const certificate = await issueServer(ca, node.scratch, ['harbor.example.net'])
  await startRegistry(node, { host: 'harbor.example.net', certificate })
  await node.runContainer()
  const traces = tracesOf(node)
  t.teardown(() => traces.close())
  const seen = leftovers(traces).map((line) => line.split(':')[0]?.split(' ')[0])
  t.ok(
    seen.includes('process') && seen.includes('cgroup') && seen.includes('folder'),
    'a living node is seen by the same look',
  )
  await node.dispose()
  t.same(leftovers(traces), [])
})

newestGeneration(t, 'vanishes when the test process is killed', async (t, generation) => {
  const program = `
    const { startSandboxNode } = await import(${JSON.stringify(new URL('./sandbox-node.ts', import.meta.url).href)})
    const node = await startSandboxNode(${JSON.stringify({ generation })})
    console.log(JSON.stringify({ name: node.name, pid: node.pid, scratch: node.scratch }))
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const line = await new Promise<string>((resolve) => child.stdout.setEncoding('utf8').once('data', resolve))
  const traces = tracesOf(JSON.parse(line))
  t.teardown(() => traces.close())
  t.not(leftovers(traces).length, 0, 'it was there')
  child.kill('SIGKILL')
  const deadline = Date.now() + 30_000
  while (leftovers(traces).length > 0 && Date.now() < deadline) await sleep(20)
  t.same(leftovers(traces), [])
})

newestGeneration(t, 'runs beside another node, and neither touches the other or the machine', async (t, generation) => {
  const machine = () =>
    ['/etc', '/etc/containerd', '/etc/ssl/certs', '/usr/local/share/ca-certificates', '/opt', '/var/lib'].map(
      (folder) => {
        const names = statSync(folder, { throwIfNoEntry: false }) === undefined ? [] : readdirSync(folder)
        return { folder, names, changedAt: statSync(folder, { throwIfNoEntry: false })?.mtimeMs }
      },
    )
  const before = machine()
  const [one, two] = await Promise.all([sandboxNode(t, { generation }), sandboxNode(t, { generation })])
  await one.writeFile('/etc/ssl/certs/one.pem', 'one')
  await one.writeFile('/usr/local/share/ca-certificates/one.crt', 'one')
  await one.writeFile('/etc/containerd/one', 'one')
  await one.writeFile('/var/lib/registry-trust/state.json', '{}')
  await one.setHost('one.example.net', await one.newAddress())
  t.equal(
    (await two.exec(['ls', '/etc/ssl/certs/one.pem', '/etc/containerd/one', '/var/lib/registry-trust'])).stdout,
    '',
  )
  t.match(await one.run(['getent', 'ahostsv4', 'one.example.net']), /^192\.0\.2\.\d+ /)
  t.not((await two.exec(['getent', 'ahostsv4', 'one.example.net'])).code, 0)
  t.match((await one.exec(['update-ca-certificates'])).stdout, /\d+ added/)
  t.match(await one.exec(['touch', '/usr/touched', '/root/touched']), {
    code: 1,
    stderr: /(Read-only file system\s*.*){2}/s,
  })
  t.equal((await one.exec(['test', '-w', import.meta.dirname])).code, 0, 'the repository stays writable')
  t.same(machine(), before)
})

newestGeneration(
  t,
  'takes any configuration, and says when containerd does not start with it',
  async (t, generation) => {
    const bare = await sandboxNode(t, { generation, config: 'none' })
    t.match(await bare.criVersion(), { ok: true })
    t.not((await bare.exec(['test', '-e', CONTAINERD_CONFIG])).code, 0)

    const broken = await sandboxNode(t, { generation, config: 'version = [' })
    t.same([...new Set(broken.exits())], [1])
    t.match(await broken.log(), /toml/i)
    t.match(await broken.criVersion(), { ok: false, code: 'UNAVAILABLE' })

    const empty = await sandboxNode(t, { generation, startContainerd: false })
    t.equal(await empty.containerdPid(), undefined)
    t.equal(await empty.log(), '')
  },
)

newestGeneration(t, 'runs programs with input, environment, time limit and stop', async (t, generation) => {
  const node = await sandboxNode(t, { generation, startContainerd: false })
  const echoed = await node.exec(['sh', '-c', 'cat; echo "$WORD" >&2; pwd; exit 7'], {
    input: 'in\n',
    env: { WORD: 'err' },
    cwd: '/etc',
  })
  t.same(echoed, { code: 7, stdout: 'in\n/etc\n', stderr: 'err\n' })
  await t.rejects(node.run(['sh', '-c', 'echo why >&2; exit 3']), { message: /exit code 3\nwhy/ })
  await t.rejects(node.exec(['sleep', '1000'], { timeoutMs: 100 }), { message: /no end within 100 ms/ })

  const service = await node.start(['sh', '-c', 'trap "echo bye; exit 5" TERM; echo up; while :; do sleep 0.01; done'])
  await service.waitFor(/^up$/m)
  t.match(await node.readFile(`/proc/${service.pid}/cmdline`), /trap/)
  t.equal(await service.stop(), 5)
  t.match(service.stdout, /bye/)
  t.notMatch(await node.run(['ps', 'ax']), /sleep 1000/, 'what timed out is dead')
})
