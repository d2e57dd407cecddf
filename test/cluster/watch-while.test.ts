import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { kubernetesApi } from '../../agent/cluster/kubernetes-api.ts'
import type { Log } from '../../agent/model/ports.ts'

const none = () => undefined
const QUIET: Log = { debug: none, info: none, warn: none, error: none }

/** An API server that answers a watch when it is told to. */
async function slowServer(t: Test) {
  const asked = Promise.withResolvers<ServerResponse>()
  const server = createServer((_, response) => asked.resolve(response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const folder = mkdtempSync(join(tmpdir(), 'rt-watch-'))
  const kubeconfig = join(folder, 'kubeconfig')
  const cluster = {
    server: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    'insecure-skip-tls-verify': true,
  }
  const config = {
    clusters: [{ name: 'c', cluster }],
    users: [{ name: 'u', user: {} }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'x',
  }
  writeFileSync(kubeconfig, JSON.stringify(config))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
    rmSync(folder, { recursive: true, force: true })
  })
  return { kubeconfig, asked: asked.promise }
}

t.test('a watch that is closed before the API server answers ends when it answers', async (t) => {
  const { kubeconfig, asked } = await slowServer(t)
  let events = 0
  const watch = kubernetesApi({ kubeconfig, log: QUIET }).watch([{ namespace: 'apps', name: 'trust' }], () => {
    events += 1
  })
  const response = await asked
  const closed = new Promise((resolve) => response.once('close', () => resolve('closed')))
  watch.close()
  response.writeHead(200, { 'content-type': 'application/json' })
  response.write('{"type":"ADDED","object":{}}\n')
  t.equal(await Promise.race([closed, sleep(5_000, 'still open')]), 'closed')
  t.equal(events, 0, 'and tells nothing more')
})

t.test('a watch that is closed while it runs ends at once', async (t) => {
  const { kubeconfig, asked } = await slowServer(t)
  const seen = Promise.withResolvers<void>()
  const api = kubernetesApi({ kubeconfig, log: QUIET })
  const watch = api.watch([{ namespace: 'apps', name: 'trust' }], () => seen.resolve())
  const response = await asked
  response.writeHead(200, { 'content-type': 'application/json' })
  response.write('{"type":"ADDED","object":{}}\n')
  await seen.promise
  const closed = new Promise((resolve) => response.once('close', () => resolve('closed')))
  watch.close()
  t.equal(await Promise.race([closed, sleep(5_000, 'still open')]), 'closed')
})
