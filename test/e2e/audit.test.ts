// `mode: audit` and `plan` write nothing, shown twice: by everything that stat and a digest tell of the target folders,
// and by what the kernel saw of the agent and of every program it started. The same trace in `mode: enforce` shows the
// writes, so that it can fail.
import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import {
  AgentOnNode,
  BY_SIGNAL,
  generationsToTest,
  type StatusReport,
  startPrivateRegistry,
} from '../fixtures/e2e/agent-on-node.ts'
import { traced, type Write, writesIn } from '../fixtures/e2e/write-trace.ts'
import type { Generation } from '../fixtures/node/generations.ts'
import { defaultConfig, startSandboxNode, withConfigPath } from '../fixtures/node/sandbox-node.ts'
import { partOf } from '../fixtures/turn.ts'

const HOST = 'harbor.example.net'
const NEW = 'new.example.net'
const LISTEN = ['--listen', '127.0.0.1:9461']
const CERTS_D = '/etc/containerd/certs.d'
/** Every place that the agent may write to in `mode: enforce`. */
const TARGETS = [
  '/etc/containerd',
  '/etc/ssl/certs',
  '/usr/local/share/ca-certificates',
  '/etc/docker',
  '/etc/containers',
  '/var/lib/registry-trust',
]
const REPOSITORY = join(import.meta.dirname, '../..')
/** tap's own record of each process. */
const OF_THE_TEST = join(REPOSITORY, '.tap')
const SCRATCH_FOLDER = /^\/dev\/shm\/registry-trust-\w{6}(?=\/|$)/

const LEGACY = `[plugins."io.containerd.grpc.v1.cri".registry.mirrors."old.example.net"]\n  endpoint = ["https://old.example.net"]\n`

/** What others do to the node, and where the drift is told. */
function damages(
  generation: Generation,
  bundle: string,
): readonly { readonly name: string; readonly by: string; readonly at: string }[] {
  const setAside = `sed -i 's,config_path = .*,config_path = "",' /etc/containerd/config.toml`
  const legacy = generation.version.startsWith('1.') ? `; cat >>/etc/containerd/config.toml <<'END'\n${LEGACY}END` : ''
  return [
    { name: 'a CA is missing', by: `rm ${CERTS_D}/${HOST}/ca.crt`, at: `${CERTS_D}/${HOST}/ca.crt` },
    {
      name: 'somebody edited hosts.toml',
      by: `sed -i 's/ca.crt/theirs.crt/' ${CERTS_D}/${HOST}/hosts.toml`,
      at: `${CERTS_D}/${HOST}/hosts.toml`,
    },
    {
      name: 'the CA is gone from the system store',
      by: 'rm /etc/ssl/certs/ca.pem /usr/local/share/ca-certificates/ca.crt',
      at: '/usr/local/share/ca-certificates/ca.crt',
    },
    {
      name: 'the bundle is another',
      by: `cat ${bundle} >/etc/ssl/certs/ca-certificates.crt`,
      at: '/etc/ssl/certs/ca-certificates.crt',
    },
    {
      name: 'rights have changed',
      by: `chmod 600 /etc/docker/certs.d/${HOST}/ca.crt`,
      at: `/etc/docker/certs.d/${HOST}/ca.crt`,
    },
    { name: 'config_path is not set, legacy sections are', by: setAside + legacy, at: '/etc/containerd/config.toml' },
    { name: 'the whole of certs.d is gone', by: `rm -r ${CERTS_D}`, at: CERTS_D },
  ]
}

const below = (folders: readonly string[]) => (write: Write) =>
  folders.some((folder) => write.path === folder || write.path.startsWith(`${folder}/`))
const isAllowed = ({ call, path, line }: Write) =>
  SCRATCH_FOLDER.test(path) ||
  path === '/dev/null' ||
  (call === 'mkdir' && path === '/dev/shm' && line.includes('EEXIST'))

const generations = generationsToTest()
const both = [generations[0], generations.at(-1)].filter((one) => one !== undefined)
for (const generation of partOf(both, 2)) {
  t.test(`containerd ${generation.version}`, { timeout: 240_000 }, async (t) => {
    const node = await startSandboxNode({ generation, config: withConfigPath(defaultConfig(generation)) })
    t.teardown(() => node.dispose())
    await node.writeFile('/etc/docker/daemon.json', '{}')
    await node.writeFile('/etc/docker/certs.d/theirs.example.net/ca.crt', 'theirs')
    await node.writeFile('/etc/containers/registries.conf', '')
    // The paths through the agent are the same: the newest containerd is looked at for what its own copy does.
    const isOldest = generation === generations[0]
    const { registry, authority } = await startPrivateRegistry(node, HOST)
    await node.setHost(NEW, registry.address)
    const agent = await AgentOnNode.on(node)
    const trust = (mode: string, hosts: readonly string[]) =>
      agent.configure(
        { mode, registries: hosts.map((host) => ({ host, ca: 'ca.pem' })), ...BY_SIGNAL },
        { 'ca.pem': authority.pem },
      )

    /** Content, kind, inode, links, mode, owner, size, times of content and of everything else, target of a link. */
    const everything = async () => {
      const list = await node.exec(['find', ...TARGETS, '-printf', '%p %y %i %n %m %U:%G %s %T@ %C@ %l\n'])
      const sums = await node.exec(['find', ...TARGETS, '-type', 'f', '-exec', 'sha256sum', '{}', '+'])
      return `${list.stdout}${sums.stdout}`
    }

    let runs = 0
    // Not in the folder that the agent watches: each line would be a change of its configuration.
    const traces = join(node.scratch, 'traces')
    await mkdir(traces)
    /** The daemon with all its calls recorded; the end of `work` ends it. */
    const tracing = async (work: (daemon: ReturnType<AgentOnNode['daemon']>) => Promise<void>) => {
      runs += 1
      const log = join(traces, `trace-${runs}`)
      // Without io_uring, whose writes no tracer sees.
      const service = await node.start(traced(log, agent.argv('agent', ...LISTEN)), { env: { UV_USE_IO_URING: '0' } })
      await service.waitFor(/"msg":"listening"/)
      try {
        await work(agent.daemon(service))
      } finally {
        t.equal(await service.stop(), 0, 'it ends by itself')
      }
      return writesIn(log).filter(({ path }) => !path.startsWith(OF_THE_TEST))
    }
    const commandTraced = async (...words: readonly string[]) => {
      runs += 1
      const log = join(traces, `trace-${runs}`)
      const [name = '', ...flags] = words
      const argv = traced(log, agent.argv(name, ...flags))
      const { code, stdout } = await node.exec(argv, { timeoutMs: 60_000, env: { UV_USE_IO_URING: '0' } })
      return { code, stdout, writes: writesIn(log).filter(({ path }) => !path.startsWith(OF_THE_TEST)) }
    }

    const bundle = join(agent.config, 'bundle')
    await node.run(['cp', '/etc/ssl/certs/ca-certificates.crt', bundle])
    await trust('enforce', [HOST])
    const fresh = await everything()
    const planned = await commandTraced('plan')
    t.equal(planned.code, 2, planned.stdout)
    t.strictSame(
      planned.writes.filter((write) => !isAllowed(write)),
      [],
      'plan writes to its scratch folder alone',
    )
    t.ok(
      planned.writes.some(({ path }) => path.endsWith('/certs.d/harbor.example.net/hosts.toml')),
      'it was rehearsed',
    )
    t.equal(await everything(), fresh)
    t.equal((await agent.apply()).code, 0)

    await trust('audit', [HOST, NEW])
    const before = await everything()
    const seesDrift = (path: string) => (status: StatusReport) =>
      status.state === 'audit' && status.drift.some((drift) => drift.path === path)

    t.test('the daemon in mode audit', async (t) => {
      const writes = await tracing(async (daemon) => {
        const isUntrusted = ({ registries }: StatusReport) =>
          registries.some(({ host, state }) => host === NEW && state === 'untrusted')
        const status = await daemon.until((now) => seesDrift(`${CERTS_D}/${NEW}`)(now) && isUntrusted(now))
        t.ok(status.registries.length === 2)
        t.equal(await everything(), before, 'a registry that is new')
        for (const { name, by, at } of damages(generation, bundle).filter((_, index) => isOldest || index < 3)) {
          await node.run(['sh', '-c', by])
          const damaged = await everything()
          const seen = await daemon.until(seesDrift(at))
          t.match(seen, { state: 'audit', transactions: [{ result: 'committed' }] }, name)
          t.equal(await everything(), damaged, `${name}: seen and left alone`)
        }
        const { body } = await daemon.get('/metrics')
        for (const target of ['containerd-hosts', 'system-trust'])
          t.match(body, new RegExp(`^registry_trust_drift_detected_total\\{target="${target}"\\} [1-9]`, 'm'))
        const left = await everything()
        const commands = [['apply'], ['migrate'], ['doctor'], ['explain', `${HOST}/library/hello:1`]]
        for (const words of [['plan'], ...(isOldest ? partOf(commands, 2) : [])]) {
          const { code, stdout, writes: made } = await commandTraced(...words)
          t.ok(code === 2 || code === 3, `${words[0]} tells what is wrong: ${code} ${stdout}`)
          t.strictSame(
            made.filter((write) => !isAllowed(write)),
            [],
            `${words[0]} writes nothing`,
          )
        }
        for (const words of [
          ['probe', HOST],
          ['inspect', join(agent.config, 'ca.pem')],
          ['lint', '/etc/containerd'],
        ])
          t.not((await agent.command(words[0] ?? '', ...words.slice(1))).stdout, '')
        t.equal((await agent.status()).code, 3)
        t.equal(await everything(), left, 'nor do the other commands')
      })
      t.strictSame(writes.filter(below(TARGETS)), [])
      t.strictSame(
        writes.filter((write) => !isAllowed(write)),
        [],
        'scratch folders of rehearsals, and nothing else',
      )
      t.ok(
        writes.some(({ call, path }) => call === 'bind' && SCRATCH_FOLDER.test(path)),
        'the containerd it started was followed',
      )
      const scratches = new Set(
        writes.map(({ path }) => SCRATCH_FOLDER.exec(path)?.[0]).filter((one) => one !== undefined),
      )
      t.ok(scratches.size > 0)
      for (const folder of scratches) t.notOk(existsSync(node.path(folder)), `${folder} is gone`)
    })

    t.test('the same in mode enforce shows that such a trace can see it', async (t) => {
      await trust('enforce', [HOST, NEW])
      const damaged = await everything()
      const writes = await tracing(async (daemon) => {
        await daemon.until(({ state }) => state === 'converged')
      })
      t.not(await everything(), damaged)
      for (const folder of TARGETS) t.ok(writes.some(below([folder])), `writes in ${folder}`)
      t.strictSame(
        writes.filter((write) => !isAllowed(write) && !below(TARGETS)(write)),
        [],
        'and nowhere else',
      )
    })
  })
}
