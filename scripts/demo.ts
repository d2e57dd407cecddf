// Tells the story of the README on real parts: containerd, a TLS registry with a private CA, and the agent as a daemon.
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { createAuthority, issueServer } from '../test/fixtures/node/certificates.ts'
import { machineGeneration } from '../test/fixtures/node/generations.ts'
import { startRegistry } from '../test/fixtures/node/registry.ts'
import { startSandboxNode } from '../test/fixtures/node/sandbox-node.ts'

const { values } = parseArgs({ options: { keep: { type: 'boolean', default: false } } })
const HOST = 'harbor.example.net'
const LISTEN = '127.0.0.1:9461'
const root = join(import.meta.dirname, '..')

const colour = process.stdout.isTTY && process.env['NO_COLOR'] === undefined
const bold = (text: string) => (colour ? `\u001b[1m${text}\u001b[0m` : text)
let step = 0
const say = (text: string) => {
  step += 1
  console.log(`\n${bold(`${step}. ${text}`)}`)
}
const show = (text: string) => console.log(text.trimEnd().replaceAll(/^/gm, '   '))

const generation = machineGeneration()
say(
  `A node with containerd ${generation.version} and its default configuration, and a registry ${HOST} with a certificate of a private CA`,
)
const node = await startSandboxNode({ generation })
let failed = false
try {
  const pki = join(node.scratch, 'pki')
  const config = join(node.scratch, 'config')
  await Promise.all([mkdir(pki), mkdir(config)])
  const authority = await createAuthority(pki, 'Corp Root')
  const registry = await startRegistry(node, { host: HOST, certificate: await issueServer(authority, pki, [HOST]) })
  show(
    `containerd: process ${await node.containerdPid()}, socket /run/containerd/containerd.sock (in namespaces of its own)`,
  )
  show(`registry:   https://${HOST} at ${registry.address}`)

  say(`Kubernetes would pull ${registry.reference()} through the CRI socket`)
  const before = await node.pull(registry.reference())
  show(before.ok ? 'OK' : `FAILED: ${before.message}`)
  if (before.ok) throw new Error('the pull works before the agent came: the demo shows nothing')

  say('What the agent is given: trust.yaml and the CA')
  const text = `registries:\n  - host: ${HOST}\n    ca: corp-root.pem\nrestart:\n  strategy: signal   # this sandbox has a supervisor instead of systemd\n`
  await writeFile(join(config, 'trust.yaml'), text)
  await writeFile(join(config, 'corp-root.pem'), authority.pem)
  show(text)

  const command = [process.execPath, join(root, 'dist/registry-trust.cjs')]
  say('registry-trust plan: what would change, rehearsed by a private copy of this containerd; nothing is written')
  show((await node.exec([...command, 'plan', '--config', config])).stdout)

  say('registry-trust agent: the daemon makes it so')
  const daemon = await node.start([...command, 'agent', '--config', config, '--listen', LISTEN, '--log-format', 'text'])
  await waitUntilReady()
  show(daemon.stderr)

  say('The same pull again')
  const after = await node.pull(registry.reference())
  show(after.ok ? `OK: ${after.imageRef}` : `FAILED: ${after.message}`)
  if (!after.ok) throw new Error('the pull still fails')

  say(`curl http://${LISTEN}/status (in part)`)
  const status = JSON.parse(await node.run(['curl', '--silent', '--fail', `http://${LISTEN}/status`]))
  show(
    JSON.stringify(
      {
        state: status.state,
        containerd: status.containerd,
        registries: status.registries,
        restart: status.restart.last,
      },
      null,
      2,
    ),
  )

  if (values.keep) {
    console.log('\nThe sandbox stays until Ctrl-C. Look around in it with:\n')
    for (const path of ['status', 'metrics', ''])
      show(`nsenter --target ${node.pid} --all -- curl http://${LISTEN}/${path}`)
    await new Promise<void>((resolve) => process.once('SIGINT', () => resolve()).once('SIGTERM', () => resolve()))
  }

  say('The registry leaves trust.yaml, and what the agent wrote leaves the node')
  await writeFile(join(config, 'trust.yaml'), 'registries: []\n')
  await waitUntil(async () => (await node.exec(['test', '-e', `/etc/containerd/certs.d/${HOST}`])).code !== 0)
  show(await node.run(['find', '/etc/containerd']))
} catch (error) {
  failed = true
  console.error(`\nthe demo failed: ${error instanceof Error ? error.message : String(error)}`)
} finally {
  await node.dispose()
}
if (!failed) console.log(`\n${bold('Everything was cleaned up: no process, mount or file is left.')}`)
process.exit(failed ? 1 : 0)

async function waitUntilReady(): Promise<void> {
  await waitUntil(async () => (await node.exec(['curl', '--silent', '--fail', `http://${LISTEN}/readyz`])).code === 0)
}

async function waitUntil(isTrue: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 20_000
  while (!(await isTrue())) {
    if (Date.now() > deadline) throw new Error('timed out')
    await sleep(50)
  }
}
