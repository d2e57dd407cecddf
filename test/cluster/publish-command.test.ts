// `registry-trust publish` as a user runs it, against the documented API over real HTTP and against Kubernetes' own server library
// (test/cluster/test-cluster.ts). The latter needs what scripts/install-fixtures builds.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { makeCa } from '../targets/sample.ts'
import { kubeconfigOf, scratchFolder } from './kubernetes.ts'
import { type TestCluster, testClusters } from './test-cluster.ts'

const MAIN = join(import.meta.dirname, '../../agent/main.ts')
const MAP = '/api/v1/namespaces/builds/configmaps/registry-trust-ca'
const CERTS = '/api/v1/namespaces/builds/configmaps/registry-trust-certs'
const LEASE = '/apis/coordination.k8s.io/v1/namespaces/registry-trust/leases/registry-trust-publish'
const ca = makeCa('Corp Root')
const TRUST = {
  registries: [{ host: 'harbor.example.net:5000', ca: 'corp.pem' }],
  publish: {
    configMaps: [
      { namespace: 'builds', name: 'registry-trust-ca' },
      { namespace: 'builds', name: 'registry-trust-certs', format: 'certs.d' },
    ],
  },
}

t.setTimeout(120_000)
const clusters = testClusters(t)

function publisher(t: Test, kubeconfig: string, trust: object = TRUST) {
  const folder = t.testdir({ config: { 'corp.pem': ca.pem, 'trust.yaml': JSON.stringify(trust) } })
  const argv = [MAIN, 'publish', '--config', join(folder, 'config'), '--kubeconfig', kubeconfig]
  const config = (text: object, corp: string) => {
    writeFileSync(join(folder, 'config/corp.pem'), corp)
    writeFileSync(join(folder, 'config/trust.yaml'), JSON.stringify(text))
  }
  return { argv, config }
}

async function dataOf(cluster: TestCluster, path: string) {
  return ((await cluster.get(path)) as { readonly data?: { readonly [key: string]: string } } | undefined)?.data
}

async function until(isTrue: () => Promise<boolean>, ms = 15_000): Promise<void> {
  const deadline = Date.now() + ms
  while (!(await isTrue())) {
    if (Date.now() > deadline) throw new Error('it did not come true in time')
    await sleep(20)
  }
}

t.test('without a section publish there is nothing to do, and that is an error', async (t) => {
  const kubeconfig = join(scratchFolder(t), 'kubeconfig')
  writeFileSync(kubeconfig, kubeconfigOf('https://127.0.0.1:1', ca.pem, 'nobody'))
  const { argv } = publisher(t, kubeconfig, { registries: [] })
  const { status, stderr } = spawnSync(process.execPath, argv, { encoding: 'utf8' })
  t.equal(status, 1)
  t.match(stderr, /there is no section publish/)
})

clusters.each(
  'with --watch one holder keeps the ConfigMaps right, against others and along with the input',
  async (t, cluster) => {
    const { argv, config } = publisher(t, cluster.kubeconfig)
    const start = (name: string) => {
      const child = spawn(process.execPath, [...argv, '--watch', '--node-name', name], {
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      t.teardown(() => child.kill('SIGKILL'))
      return child
    }
    const first = start('first')
    await until(async () => (await dataOf(cluster, CERTS)) !== undefined)
    t.same(await dataOf(cluster, MAP), { 'ca-bundle.crt': ca.pem })
    t.same(await dataOf(cluster, CERTS), { 'harbor.example.net..5000': ca.pem })
    t.match(await cluster.get(LEASE), { spec: { holderIdentity: 'first' } })

    const second = start('second')
    await until(async () => cluster.count('watch') >= 2)
    const map = (await cluster.get(MAP)) as { readonly data: object }
    await cluster.put(MAP, { ...map, data: { 'ca-bundle.crt': 'broken', theirs: 'stays' } })
    await until(async () => (await dataOf(cluster, MAP))?.['ca-bundle.crt'] === ca.pem, 5_000)
    t.equal((await dataOf(cluster, MAP))?.['theirs'], 'stays', 'drift is healed within seconds')

    const next = makeCa('Next Root')
    config(TRUST, ca.pem + next.pem)
    await until(async () => (await dataOf(cluster, MAP))?.['ca-bundle.crt'] === ca.pem + next.pem, 5_000)
    t.match(await cluster.get(LEASE), { spec: { holderIdentity: 'first' } }, 'the second one holds nothing')
    for (const child of [first, second]) {
      child.kill('SIGTERM')
      const [code] = await once(child, 'exit')
      t.equal(code, 0)
    }
  },
)
