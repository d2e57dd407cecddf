// Tells the story of the README on real parts: containerd, a TLS registry with a private CA, and the agent as a daemon.
import { statSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { createAuthority, issueServer } from '../test/fixtures/node/certificates.ts'
import { broughtGeneration, machineGeneration } from '../test/fixtures/node/generations.ts'
import { startRegistry } from '../test/fixtures/node/registry.ts'
import { type SandboxNode, startSandboxNode } from '../test/fixtures/node/sandbox-node.ts'
import { forwarding, listenOn } from './demo-forward.ts'

const { values } = parseArgs({
  options: { keep: { type: 'boolean', default: false }, containerd: { type: 'string' } },
})
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

/** What the closing table says; a row stands there only when it was seen. */
const shown: (readonly [string, string])[] = []

const generation =
  values.containerd === undefined ? machineGeneration() : broughtGeneration(folderOf(values.containerd))
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
  shown.push(['the pull before', `fails: ${/x509: .*/.exec(before.message)?.[0] ?? before.message}`])

  say('What the agent is given: trust.yaml and the CA')
  const text = `registries:\n  - host: ${HOST}\n    ca: corp-root.pem\nrestart:\n  strategy: signal   # this sandbox has a supervisor instead of systemd\n`
  await writeFile(join(config, 'trust.yaml'), text)
  await writeFile(join(config, 'corp-root.pem'), authority.pem)
  show(text)

  const command = [process.execPath, join(root, 'dist/registry-trust.cjs')]
  say('registry-trust plan: what would change, rehearsed by a private copy of this containerd; nothing is written')
  const plan = await node.exec([...command, 'plan', '--config', config])
  show(plan.stdout)
  const untouched = (await node.exec(['test', '-e', `/etc/containerd/certs.d/${HOST}`])).code !== 0
  if (plan.code === 2 && untouched)
    shown.push(['plan', 'tells the changes, rehearsed, and writes nothing (exit code 2)'])

  say('registry-trust agent: the daemon makes it so')
  const startedAt = performance.now()
  const daemon = await node.start([...command, 'agent', '--config', config, '--listen', LISTEN, '--log-format', 'text'])
  await waitUntilReady()
  const readyMs = Math.round(performance.now() - startedAt)
  show(daemon.stderr)

  say('The same pull again')
  const after = await node.pull(registry.reference())
  show(after.ok ? `OK: ${after.imageRef}` : `FAILED: ${after.message}`)
  if (!after.ok) throw new Error('the pull still fails')
  shown.push(['the agent', `ready ${readyMs} ms after its start`], ['the same pull after it', 'succeeds'])

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

  const { last } = status.restart
  shown.push([
    'restarts of containerd',
    last === null ? 'none' : `one, ${last.result}, containerd was away for ${last.durationMs} ms`,
  ])

  if (values.keep) {
    const port = await pageOnTheMachine(node)
    console.log('\nThe sandbox stays until Ctrl-C. Open in a browser of this machine:\n')
    for (const path of ['', 'status', 'metrics']) show(`http://127.0.0.1:${port}/${path}`)
    console.log('\nLook around in it with:\n')
    show(`nsenter --target ${node.pid} --all -- sh`)
    await new Promise<void>((done) => process.once('SIGINT', () => done()).once('SIGTERM', () => done()))
  }

  say('The registry leaves trust.yaml, and what the agent wrote leaves the node')
  await writeFile(join(config, 'trust.yaml'), 'registries: []\n')
  await waitUntil(async () => (await node.exec(['test', '-e', `/etc/containerd/certs.d/${HOST}`])).code !== 0)
  const left = await node.run(['find', '/etc/containerd'])
  show(left)
  shown.push(['the registry leaves trust.yaml', `its folder is gone; ${left.trim().split('\n').length} paths stay`])
} catch (error) {
  failed = true
  console.error(`\nthe demo failed: ${error instanceof Error ? error.message : String(error)}`)
} finally {
  await node.dispose()
}
if (!failed) {
  say('What was shown')
  const width = Math.max(...shown.map(([what]) => what.length))
  for (const [what, how] of shown) show(`${what.padEnd(width)}  ${how}`)
}
if (!failed) console.log(`\n${bold('Everything was cleaned up: no process, mount or file is left.')}`)
process.exit(failed ? 1 : 0)

/** A folder with containerd, ctr and containerd-shim-runc-v2, or the containerd in it. */
function folderOf(path: string): string {
  const absolute = resolve(path)
  return statSync(absolute, { throwIfNoEntry: false })?.isFile() ? dirname(absolute) : absolute
}

/** The agent listens inside the sandbox's network; the machine's browser is outside. */
async function pageOnTheMachine(sandbox: SandboxNode): Promise<number> {
  const socket = join(sandbox.scratch, 'page.sock')
  const script = join(root, 'scripts/demo-forward.ts')
  const inside = await sandbox.start([process.execPath, script, socket, LISTEN.replace(/^.*:/, '')], {
    place: 'neighbour',
  })
  await inside.waitFor(/^listening$/m)
  const server = forwarding({ path: socket })
  server.unref()
  return await listenOn(server, 9461)
}

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
