// cri-proxy and restarter in one process: each at its own socket, and never one without the other.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { connectCri } from '../../agent/node/cri/client.ts'
import { restarterClient } from '../../agent/node/systemd/restarter-client.ts'
import { COMPILE_CACHE } from '../fixtures/compile-cache.ts'
import { shortFolder } from '../fixtures/node/private-containerd.ts'

const MAIN = join(import.meta.dirname, '../../agent/main-sidecar.ts')
const HEAP = ['--max-old-space-size=32', '--max-semi-space-size=1']

function both(t: Test, folder: string, restarterSocket: string): { child: ChildProcess; stderr: () => string } {
  mkdirSync(join(folder, 'config'))
  writeFileSync(join(folder, 'config/trust.yaml'), 'registries: []\n')
  const child = spawn(process.execPath, [...HEAP, MAIN, 'sidecar'], {
    env: {
      NODE_COMPILE_CACHE: COMPILE_CACHE,
      REGISTRY_TRUST_ROOT: folder,
      REGISTRY_TRUST_CONTAINERD_ADDRESS: '/run/none.sock',
      REGISTRY_TRUST_CONFIG: join(folder, 'config'),
      REGISTRY_TRUST_CRI_PROXY: join(folder, 'cri.sock'),
      REGISTRY_TRUST_RESTARTER_SOCKET: restarterSocket,
    },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let stderr = ''
  child.stderr?.on('data', (chunk) => {
    stderr += String(chunk)
  })
  t.teardown(() => child.kill('SIGKILL'))
  return { child, stderr: () => stderr }
}

t.test('both answer, and SIGTERM ends both', async (t) => {
  const folder = shortFolder(t)
  const { child, stderr } = both(t, folder, join(folder, 'r.sock'))
  while (!/cri-proxy-listening/.test(stderr()) || !/restarter-listening/.test(stderr())) await sleep(20)
  const cri = connectCri(join(folder, 'cri.sock'))
  await t.rejects(cri.version({ timeoutMs: 5_000 }), { code: 'CRI_UNREACHABLE', message: /none\.sock/ })
  cri.close()
  t.equal(await restarterClient({ socket: join(folder, 'r.sock') }).isAvailable(), false, 'there is no systemd')
  child.kill('SIGTERM')
  t.same(await once(child, 'exit'), [0, null], stderr())
})

t.test('where one cannot listen, the process ends and says why', async (t) => {
  const folder = shortFolder(t)
  const { child, stderr } = both(t, folder, join(folder, 'missing/r.sock'))
  t.same(await once(child, 'exit'), [1, null])
  t.match(stderr(), /cannot listen on .*missing\/r\.sock/)
})
