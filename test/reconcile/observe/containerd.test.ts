// Which containerd a node has: the socket is found or named, never guessed. (What the daemon tells is tested on real
// ones, test/e2e.)
import t from 'tap'
import { AgentError } from '../../../agent/model/errors.ts'
import type { CriConnector, NodeFiles, RehearsalRunner, UnitFacts } from '../../../agent/model/ports.ts'
import { nodeFiles } from '../../../agent/node/files/files.ts'
import { observeContainerd, observeWithoutRuntime } from '../../../agent/reconcile/observe/containerd.ts'

/** Fake: stands for a socket on which nobody listens; tells which one was asked. */
function noRuntime(asked: string[]): CriConnector {
  return (socket) => {
    asked.push(socket)
    const refuse = async () => {
      throw new Error(`nobody listens on ${socket}`)
    }
    return {
      version: refuse,
      status: refuse,
      pullImage: refuse,
      imageDigests: refuse,
      imageExists: refuse,
      imageArchitecture: refuse,
      runningContainers: refuse,
      containerStart: refuse,
      activity: refuse,
      close() {},
    }
  }
}

async function observe(root: string, address?: string) {
  const asked: string[] = []
  return { seen: await observeContainerd({ address, unit: 'auto' }, portsOf(root, asked)), asked }
}

function portsOf(root: string, asked: string[] = []): Parameters<typeof observeContainerd>[1] {
  return {
    files: nodeFiles({ root }),
    connectCri: noRuntime(asked),
    processes: {
      listeningOn: async () => [],
      isAlive: () => false,
      runningAs: () => [],
      ofServices: () => [],
      terminate() {},
    },
    systemd: {
      isAvailable: async () => false,
      unit: async () => undefined,
      restart: async () => ({ result: 'failed', durationMs: 0 }),
      resetFailed: async () => undefined,
    },
  }
}

const run = { containerd: { 'containerd.sock': '' } }
const k3s = { k3s: { containerd: { 'containerd.sock': '' } } }

t.test('no socket anywhere: says where it looked', async (t) => {
  const { seen, asked } = await observe(t.testdir({ run: {} }))
  t.match(seen, {
    state: 'down',
    error: { code: 'CONTAINERD_NOT_FOUND', message: /crictl\.yaml.*\/run\/k3s\/containerd/ },
  })
  t.same(asked, [])
})

t.test('one well-known socket is taken, also where /var/run is a link to /run', async (t) => {
  const root = t.testdir({ run, var: { run: t.fixture('symlink', '../run') } })
  t.same((await observe(root)).asked, ['/run/containerd/containerd.sock'])
})

/** Fake: stands for runtimes that answer by these names at these sockets; the real ones are in test/e2e. */
function answering(names: { readonly [socket: string]: string }): CriConnector {
  return (socket) => ({
    ...noRuntime([])(socket),
    version: async () => {
      const runtimeName = names[socket]
      if (runtimeName === undefined) throw new AgentError('CRI_NOT_LOADED', `${socket} has no CRI`)
      return { runtimeName, runtimeVersion: '1.36.3' }
    },
    status: async () => ({ runtimeReady: true, networkReady: true }),
  })
}

async function among(root: string, names: { readonly [socket: string]: string }, address?: string) {
  return await observeContainerd({ address, unit: 'auto' }, { ...portsOf(root), connectCri: answering(names) })
}

const crio = { crio: { 'crio.sock': '' } }
const CRIO = '/run/crio/crio.sock'

t.test('CRI-O is found where no containerd answers CRI', async (t) => {
  const runtime = { name: 'cri-o', version: '1.36.3', socket: CRIO, reloadsItself: false }
  t.match(await among(t.testdir({ run: crio }), { [CRIO]: 'cri-o' }), { state: 'down', socket: CRIO, runtime })
  const beside = t.testdir({ run: { ...run, ...crio } })
  t.match(await among(beside, { [CRIO]: 'cri-o' }), { runtime }, "Docker's containerd has no CRI plugin")
  const named = await among(beside, { [CRIO]: 'cri-o', '/run/containerd/containerd.sock': 'containerd' }, CRIO)
  t.match(named, { runtime, error: { message: /at \/run\/crio\/crio\.sock is cri-o 1\.36\.3, not containerd/ } })
})

t.test('a containerd that answers comes before CRI-O, and another runtime is none of both', async (t) => {
  const both = t.testdir({ run: { ...run, ...crio } })
  const seen = await among(both, { [CRIO]: 'cri-o', '/run/containerd/containerd.sock': 'containerd' })
  t.match(seen, { state: 'ready', facts: { socket: '/run/containerd/containerd.sock' } })
  const docker = await among(t.testdir({ run }), { '/run/containerd/containerd.sock': 'docker' })
  t.match(docker, { state: 'down', error: { code: 'NOT_CONTAINERD', message: /is docker 1\.36\.3/ } })
  t.notOk('runtime' in docker)
})

t.test('whether CRI-O reads registries.conf.d again by itself is what its last file says', async (t) => {
  const of = async (etc: { readonly [name: string]: string | { readonly [name: string]: string } }) => {
    const seen = await among(t.testdir({ run: crio, etc: { crio: etc } }), { [CRIO]: 'cri-o' })
    return seen.state === 'down' ? seen.runtime?.reloadsItself : undefined
  }
  const on = '[crio.image]\nauto_reload_registries = true\n'
  t.equal(await of({ 'crio.conf': on }), true)
  t.equal(await of({ 'crio.conf': `# ${on.replaceAll('\n', '\n# ')}` }), false, 'a comment says nothing')
  t.equal(await of({ 'crio.conf': on, 'crio.conf.d': { '10-x.conf': 'auto_reload_registries=false' } }), false)
  t.equal(await of({ 'crio.conf.d': { '01-off.conf': 'auto_reload_registries=false', '10-x.conf': on } }), true)
})

t.test('two runtimes on one node: refused, both are named', async (t) => {
  const { seen, asked } = await observe(t.testdir({ run: { ...run, ...k3s } }))
  t.match(seen, { error: { code: 'CONTAINERD_AMBIGUOUS', message: /\/run\/containerd\/containerd\.sock, \/run\/k3s/ } })
  t.same(asked, [])
})

t.test('crictl.yaml decides between two, and the option wins over it', async (t) => {
  const crictl = 'runtime-endpoint: unix:///run/k3s/containerd/containerd.sock\n'
  const root = t.testdir({ etc: { 'crictl.yaml': crictl }, run: { ...run, ...k3s } })
  t.same((await observe(root)).asked, ['/run/k3s/containerd/containerd.sock'])
  t.same((await observe(root, '/run/containerd/containerd.sock')).asked, ['/run/containerd/containerd.sock'])
  t.same((await observe(root, 'unix:///run/x.sock')).asked, ['/run/x.sock'])
})

t.test('crictl.yaml that names a socket that is not there does not count', async (t) => {
  const root = t.testdir({ etc: { 'crictl.yaml': 'runtime-endpoint: unix:///run/gone.sock\n' }, run })
  t.same((await observe(root)).asked, ['/run/containerd/containerd.sock'])
})

/** Fake: stands for the containerd program, of which only the version is asked. */
const runner: RehearsalRunner = { scratch: fail, version: async () => '1.7.24', start: fail }

async function fail(): Promise<never> {
  throw new Error('not asked for')
}

async function importsOf(root: string, files: NodeFiles = nodeFiles({ root }), version = '1.7.24') {
  const ports = { ...portsOf(root), files, runner: { ...runner, version: async () => version } }
  const facts = await observeWithoutRuntime('auto', ports)
  return { paths: facts.imports.map(({ path }) => path), folders: facts.importFolders, unseen: facts.unseenImport }
}

t.test('imported files that import others: each once, in the order in which containerd merges them', async (t) => {
  const root = t.testdir({
    usr: { bin: { containerd: '' } },
    etc: {
      containerd: {
        'config.toml': 'imports = ["conf.d/*.toml", "last.toml"]\n',
        'last.toml': 'imports = ["config.toml", "last.toml"]\n',
        'conf.d': {
          'a.toml': 'imports = ["../nested/z.toml", "b.toml"]\n',
          'b.toml': '',
          'c.txt': 'imports = ["../nested/no.toml"]\n',
        },
        nested: { 'z.toml': 'imports = ["y.toml"]\n', 'y.toml': '', 'no.toml': '' },
      },
    },
  })
  const names = ['conf.d/a', 'conf.d/b', 'last', 'nested/z', 'nested/y']
  t.same(await importsOf(root), {
    paths: names.map((name) => `/etc/containerd/${name}.toml`),
    folders: ['/etc/containerd/conf.d', '/etc/containerd', '/etc/containerd/nested'],
    unseen: undefined,
  })
})

t.test('imports are found as Go finds them, and what containerd does not start with is told', async (t) => {
  const on = async (name: string, version?: string) => {
    const root = t.testdir({
      usr: { bin: { containerd: '' } },
      'conf.d': { 'root.toml': '' },
      etc: {
        containerd: {
          'config.toml': `imports = ["${name}"]\n`,
          'conf.d': { 'a.toml': '', 'b.toml': '', '[ab].toml': '' },
          more: { 'a.toml': '', sub: {}, gone: t.fixture('symlink', '/nowhere') },
        },
      },
    })
    const { paths, unseen } = await importsOf(root, undefined, version)
    return unseen === undefined ? paths.join(' ') : `${unseen.code} ${unseen.message.split(': ')[0]}`
  }
  const folder = '/etc/containerd'
  t.equal(await on(`${folder}/*/a.toml`), `${folder}/conf.d/a.toml ${folder}/more/a.toml`, 'a pattern of folders')
  t.equal(await on(`${folder}/c?nf.d/[a]*.toml`), `${folder}/conf.d/a.toml`)
  t.equal(await on(`${folder}/conf.d/[ab].toml`), `${folder}/conf.d/[ab].toml`, 'no pattern without a *')
  t.equal(await on('conf.d/a*'), `${folder}/conf.d/a.toml`)
  t.equal(await on('conf.d/*', '1.6.20'), '/conf.d/root.toml', "before 1.7 in containerd's own folder")
  t.equal(await on('conf.d/a.toml', '1.6.20'), `${folder}/conf.d/a.toml`)
  t.equal(await on(`${folder}/absent/*`), '')
  for (const [name, why] of [
    ['none.toml', `${folder}/none.toml is not there`],
    ['', `${folder} is a folder`],
    ['more/s*', `${folder}/more/sub is a folder`],
    ['more/g*', `${folder}/more/gone is not there`],
    [`${folder}/conf.d/[*`, `${folder}/conf.d/[* is not a pattern that Go knows`],
  ] as const)
    t.equal(await on(name), `CONTAINERD_CONFIG_UNREADABLE ${why}`)
})

t.test('an imported file that cannot be read is told: what containerd makes of it is not known', async (t) => {
  const root = t.testdir({
    usr: { bin: { containerd: '' } },
    etc: { containerd: { 'config.toml': 'imports = ["a.toml", "b.toml"]\n', 'a.toml': '', 'b.toml': '' } },
  })
  const real = nodeFiles({ root })
  const readFollowing: NodeFiles['readFollowing'] = async (path) =>
    path === '/etc/containerd/b.toml' ? { kind: 'unreadable', reason: 'EIO: i/o error' } : real.readFollowing(path)
  t.match((await importsOf(root, { ...real, readFollowing })).unseen, {
    code: 'NODE_FILE_UNREADABLE',
    message: /^\/etc\/containerd\/b\.toml .*EIO/,
  })
  t.match((await importsOf(root, { ...real, isSeen: () => false })).unseen, {
    code: 'TARGET_NOT_MOUNTED',
    message: /^\/etc\/containerd\/a\.toml is not mounted/,
  })
})

/** Fake: stands for a unit that starts another program than containerd. */
const startedBy =
  (name: string, ...execStart: readonly string[]) =>
  async (asked: string) =>
    asked === name
      ? ({ name, loadState: 'loaded', mainPid: 7, execStart, environment: {} } as unknown as UnitFacts)
      : undefined

t.test(
  'k0s: its unit names another configuration, containerd is its own, and drop-ins stand for what it merges',
  async (t) => {
    const root = t.testdir({
      var: { lib: { k0s: { bin: { containerd: '' } } } },
      etc: {
        k0s: {
          'k0s.yaml': '',
          'containerd.toml': '# k0s_managed=true\nversion = 2\nimports = ["/run/k0s/containerd-cri.toml"]\n',
          'containerd.d': { 'a.toml': 'version = 2\n', 'b.txt': '' },
        },
      },
    })
    const ports = portsOf(root)
    const unit = startedBy('k0sworker.service', '/usr/local/bin/k0s', 'worker', '--config=/etc/k0s/k0s.yaml')
    const systemd = { ...ports.systemd, isAvailable: async () => true, unit }
    const facts = await observeWithoutRuntime('auto', { ...ports, systemd, runner })
    t.match(facts, { layout: 'k0s', configFile: '/etc/k0s/containerd.toml', ownBinary: '/var/lib/k0s/bin/containerd' })
    t.same(
      facts.imports.map(({ path }) => path),
      ['/etc/k0s/containerd.d/a.toml'],
    )
    t.equal(facts.unseenImport, undefined)
  },
)

t.test('RKE2 and MicroK8s: containerd is the one of the version, or of the revision, that counts', async (t) => {
  const config = { etc: { containerd: { 'config.toml': '' } } }
  const versions = { 'v1.30.1-a': { bin: { containerd: '' } }, 'v1.31.2-b': { bin: { containerd: '' } } }
  const rke2 = t.testdir({ var: { lib: { rancher: { rke2: { agent: config, data: versions } } } } })
  const ofRke2 = await observeWithoutRuntime('auto', { ...portsOf(rke2), runner })
  t.match(ofRke2, { layout: 'rke2', ownBinary: '/var/lib/rancher/rke2/data/v1.31.2-b/bin/containerd' })
  const revision = { 7: { args: { 'containerd.toml': 'version = 2\n' } }, current: t.fixture('symlink', '7') }
  const snap = { 7: { bin: { containerd: '' } }, current: t.fixture('symlink', '7') }
  const microk8s = t.testdir({ snap: { microk8s: snap }, var: { snap: { microk8s: revision } } })
  const ofMicrok8s = await observeWithoutRuntime('auto', { ...portsOf(microk8s), runner })
  t.match(ofMicrok8s, {
    layout: 'microk8s',
    ownBinary: '/snap/microk8s/current/bin/containerd',
    isConfigGenerated: true,
  })
  t.equal(ofMicrok8s.config.kind, 'file')
})
