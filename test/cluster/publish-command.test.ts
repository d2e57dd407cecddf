// `registry-trust publish` as a user runs it, against the documented API over real HTTP and against Kubernetes' own
// server library (test/fixtures/cluster/test-cluster.ts). The latter needs what scripts/install-fixtures builds.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { ApiServer } from '../fixtures/cluster/api-server.ts'
import { kubeconfigOf, scratchFolder } from '../fixtures/cluster/kubernetes.ts'
import { type TestCluster, testClusters } from '../fixtures/cluster/test-cluster.ts'
import { createAuthority, issueServer } from '../fixtures/node/certificates.ts'
import { makeCa } from '../fixtures/scratch/sample.ts'

/** As it is shipped: it starts in a third of the time that its sources take. */
const MAIN = join(import.meta.dirname, '../../dist/registry-trust.cjs')
const MAP = '/api/v1/namespaces/builds/configmaps/registry-trust-ca'
const CERTS = '/api/v1/namespaces/builds/configmaps/registry-trust-certs'
const LEASE = '/apis/coordination.k8s.io/v1/namespaces/registry-trust/leases/registry-trust-publish'
/** Shows nowhere. */
const TOKEN = 'CanaryTokenOfTheCluster7'
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

t.setTimeout(480_000)
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

/** The documented API with a token of its own, where no ConfigMap may be written. */
async function refusing(t: Test) {
  const folder = scratchFolder(t)
  const authority = await createAuthority(folder, 'Cluster')
  const { pem, keyFile } = await issueServer(authority, folder, ['127.0.0.1'])
  const server = new ApiServer({ cert: pem, key: readFileSync(keyFile, 'utf8') })
  t.teardown(() => server.close())
  server.refuse.set(`PATCH ${MAP}`, 403)
  const kubeconfig = join(folder, 'kubeconfig')
  writeFileSync(kubeconfig, kubeconfigOf(await server.listen(), authority.pem, TOKEN))
  return { server, kubeconfig }
}

t.test('the token of the API server is sent and shows nowhere, also where it is refused', async (t) => {
  const { server, kubeconfig } = await refusing(t)
  const { argv } = publisher(t, kubeconfig)
  const run = async (...flags: readonly string[]) => {
    const child = spawn(process.execPath, [...argv, '--log-level', 'debug', ...flags], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let said = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (said += String(chunk)))
    const [code] = await once(child, 'close')
    return { code, said }
  }
  for (const flags of [[], ['--json']]) {
    const { code, said } = await run(...flags)
    t.equal(code, 1)
    t.match(said, /forbidden/)
    t.notMatch(said, TOKEN)
    t.notMatch(said, Buffer.from(TOKEN).toString('base64').slice(0, 30))
  }
  t.ok(server.tokens.has(`Bearer ${TOKEN}`), 'it was sent')
})

t.test('without a section publish there is nothing to do, and that is an error', async (t) => {
  const kubeconfig = join(scratchFolder(t), 'kubeconfig')
  writeFileSync(kubeconfig, kubeconfigOf('https://127.0.0.1:1', ca.pem, 'nobody'))
  const { argv } = publisher(t, kubeconfig, { registries: [] })
  const { status, stderr } = spawnSync(process.execPath, argv, { encoding: 'utf8' })
  t.equal(status, 1)
  t.match(stderr, /there is no section publish/)
  const broken = spawnSync(process.execPath, publisher(t, 'no/such/kubeconfig').argv, { encoding: 'utf8' })
  t.equal(broken.status, 1)
  t.match(broken.stderr, /no\/such\/kubeconfig cannot be read as access to the API server \(ENOENT\)\n.*kubeconfig/)
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
    const holder = async () =>
      ((await cluster.get(LEASE)) as { readonly spec: { readonly holderIdentity?: string } }).spec.holderIdentity
    first.kill('SIGTERM')
    t.same(await once(first, 'exit'), [0, null])
    await until(async () => (await holder()) === 'second', 8_000)
    second.kill('SIGTERM')
    t.same(await once(second, 'exit'), [0, null])
    t.equal((await holder()) ?? '', '', 'released')
  },
)
