// Which containerd a node has: the socket is found or named, never guessed. (What the daemon tells is tested on real ones, test/e2e.)
import t from 'tap'
import type { CriConnector } from '../../agent/model/ports.ts'
import { nodeFiles } from '../../agent/node/files.ts'
import { observeContainerd } from '../../agent/reconcile/observe.ts'

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
      digestsFrom: refuse,
      imageExists: refuse,
      runningContainers: refuse,
      containerStart: refuse,
      activity: refuse,
      close() {},
    }
  }
}

async function observe(root: string, address?: string) {
  const asked: string[] = []
  const ports = {
    files: nodeFiles({ root }),
    connectCri: noRuntime(asked),
    processes: { listeningOn: async () => [], isAlive: () => false, terminate() {} },
    systemd: {
      isAvailable: async () => false,
      unit: async () => undefined,
      restart: async () => ({ result: 'failed', durationMs: 0 }),
      resetFailed: async () => undefined,
    },
  }
  return { seen: await observeContainerd({ address, unit: 'auto' }, ports), asked }
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
