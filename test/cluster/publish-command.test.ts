// `registry-trust publish` as a user runs it, against the documented API over real HTTP (test/cluster/api-server.ts), not against Kubernetes.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { createAuthority, issueServer } from '../node/certificates.ts'
import { makeCa } from '../targets/sample.ts'
import { ApiServer } from './api-server.ts'

const MAIN = join(import.meta.dirname, '../../agent/main.ts')
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

async function cluster(t: Test, trust: object = TRUST) {
  const folder = t.testdir({ config: { 'corp.pem': ca.pem, 'trust.yaml': JSON.stringify(trust) } })
  const authority = await createAuthority(folder, 'Cluster')
  const { pem, keyFile } = await issueServer(authority, folder, ['127.0.0.1'])
  const server = new ApiServer({ cert: pem, key: readFileSync(keyFile, 'utf8') })
  const url = await server.listen()
  t.teardown(() => server.close())
  const parts = {
    clusters: [
      {
        name: 'c',
        cluster: { server: url, 'certificate-authority-data': Buffer.from(authority.pem).toString('base64') },
      },
    ],
    users: [{ name: 'u', user: { token: TOKEN } }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
  }
  writeFileSync(
    join(folder, 'kubeconfig'),
    JSON.stringify({ apiVersion: 'v1', kind: 'Config', 'current-context': 'x', ...parts }),
  )
  const argv = [MAIN, 'publish', '--config', join(folder, 'config'), '--kubeconfig', join(folder, 'kubeconfig')]
  const config = (text: object, corp: string) => {
    writeFileSync(join(folder, 'config/corp.pem'), corp)
    writeFileSync(join(folder, 'config/trust.yaml'), JSON.stringify(text))
  }
  return { server, argv, config }
}

const dataOf = (server: ApiServer, path: string) =>
  (server.get(path) as { data?: { [key: string]: string } } | undefined)?.data

async function until(isTrue: () => boolean, ms = 15_000): Promise<void> {
  const deadline = Date.now() + ms
  while (!isTrue()) {
    if (Date.now() > deadline) throw new Error('it did not come true in time')
    await sleep(20)
  }
}

t.test('the token of the API server is sent and shows nowhere, also where it is refused', async (t) => {
  const { server, argv } = await cluster(t)
  server.refuse.set(`PATCH ${MAP}`, 403)
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
  const { argv } = await cluster(t, { registries: [] })
  const { status, stderr } = spawnSync(process.execPath, argv, { encoding: 'utf8' })
  t.equal(status, 1)
  t.match(stderr, /there is no section publish/)
})

t.test(
  'with --watch one holder keeps the ConfigMaps right, against others and along with the input',
  { timeout: 50_000 },
  async (t) => {
    const { server, argv, config } = await cluster(t)
    const start = (name: string) => {
      const child = spawn(process.execPath, [...argv, '--watch', '--node-name', name], {
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      t.teardown(() => child.kill('SIGKILL'))
      return child
    }
    const first = start('first')
    await until(() => dataOf(server, CERTS) !== undefined)
    t.same(dataOf(server, MAP), { 'ca-bundle.crt': ca.pem })
    t.same(dataOf(server, CERTS), { 'harbor.example.net..5000': ca.pem })
    t.match(server.get(LEASE), { spec: { holderIdentity: 'first' } })

    const second = start('second')
    await until(() => server.requests.some(({ path }) => path.endsWith('/configmaps')))
    const map = server.get(MAP) as { data: object }
    server.put(MAP, { ...map, data: { 'ca-bundle.crt': 'broken', theirs: 'stays' } })
    await until(() => dataOf(server, MAP)?.['ca-bundle.crt'] === ca.pem, 5_000)
    t.equal(dataOf(server, MAP)?.['theirs'], 'stays', 'drift is healed within seconds')

    const next = makeCa('Next Root')
    config(TRUST, ca.pem + next.pem)
    await until(() => dataOf(server, MAP)?.['ca-bundle.crt'] === ca.pem + next.pem, 5_000)
    t.match(server.get(LEASE), { spec: { holderIdentity: 'first' } }, 'the second one holds nothing')
    for (const child of [first, second]) {
      child.kill('SIGTERM')
      const [code] = await once(child, 'exit')
      t.equal(code, 0)
    }
  },
)
