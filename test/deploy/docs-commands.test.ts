// Every command that the documentation shows is run: kubectl on Kubernetes' own server library, registry-trust on a
// fixture node with a private registry, the rest as the table says (test/fixtures/deploy/documented-commands.ts). What only
// asks, half of the commands of a runbook and of a node, is run every other day, and all of it with REGISTRY_TRUST_FULL=1.
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { writeManifests } from '../../scripts/releasing/manifests.ts'
import { applyAll } from '../fixtures/cluster/applying.ts'
import type { Kubernetes } from '../fixtures/cluster/kubernetes.ts'
import { onKubernetes } from '../fixtures/cluster/test-cluster.ts'
import { defineCustomKinds } from '../fixtures/deploy/custom-kinds.ts'
import { commandsOn, documentedCommands, RULES, rulesFor, yamlOf } from '../fixtures/deploy/documented-commands.ts'
import { render } from '../fixtures/deploy/objects.ts'
import { Daemon, startPrivateRegistry } from '../fixtures/e2e/agent-on-node.ts'
import { tinyImage } from '../fixtures/node/image.ts'
import { newestGeneration, sandboxNode } from '../fixtures/node/node-tests.ts'
import { partOf } from '../fixtures/turn.ts'

const ROOT = join(import.meta.dirname, '../..')
const HOST = 'harbor.example.net'
const DAEMON_SET = '/apis/apps/v1/namespaces/registry-trust/daemonsets/registry-trust'

t.setTimeout(480_000)

t.test('every documented command has one place where it is run, or a reason why not', async (t) => {
  const commands = documentedCommands()
  t.ok(commands.length > 50, `${commands.length} commands`)
  for (const command of commands) t.equal(rulesFor(command).length, 1, `${command.path}: ${command.text}`)
  for (const { like } of RULES)
    t.ok(
      commands.some(({ text }) => like.test(text)),
      `${like} is still needed`,
    )
})

t.test('a command that another test runs stands in that test', async (t) => {
  const places = commandsOn('other test')
  t.ok(places.length > 0)
  for (const { place } of places)
    t.ok(readFileSync(join(import.meta.dirname, place.test), 'utf8').includes(place.as), `${place.test}: ${place.as}`)
})

onKubernetes(t).test('what runs against a cluster', async (t, kubernetes) => {
  for (const folder of ['monitoring', 'overlays/openshift']) await defineCustomKinds(kubernetes, await render(folder))
  await kubernetes.request('POST', '/api/v1/nodes', {
    metadata: { name: 'worker-1' },
    spec: { taints: [{ key: 'registry-trust.io/untrusted', effect: 'NoSchedule' }] },
  })
  const all = commandsOn('cluster').map(({ command }) => command)
  t.ok(all.length > 10)
  const asking = partOf(
    all.filter(({ path }) => isRunbook(path)),
    2,
  )
  const commands = all.filter((command) => !isRunbook(command.path) || asking.includes(command))
  // The variables of docs/runbooks/README.md hold on the other pages as well; $AGENT is found by $NODE.
  const variables = all.filter(({ text }) => /^[A-Z]+=/.test(text)).map(({ text }) => text)
  let isThere = false
  const checkout = await checkoutWithManifests(t)
  for (const { path, text } of commands) {
    // README.md and docs/deployment.md, which come first, begin with an empty cluster and leave one
    if (!['README.md', 'docs/deployment.md'].includes(path) && !isThere) {
      await fromNothing(kubernetes)
      for (const folder of ['example', 'monitoring'])
        for (const { status, body } of await applyAll(kubernetes, await render(folder)))
          t.ok(status === 200 || status === 201, `${folder}: ${JSON.stringify(body)}`)
      isThere = true
    }
    if (text.includes('--reset-then-reuse-values')) await haveRelease(t, kubernetes, checkout)
    await actForTheControllers(kubernetes)
    if (text.endsWith('--values my-values.yaml')) {
      // As somebody who begins with this page: nothing is installed yet, and the values are those of the page.
      await fromNothing(kubernetes)
      writeFileSync(join(checkout, 'my-values.yaml'), yamlOf(path))
    }
    const script = isRunbook(path) ? withVariables(text, variables) : text
    const { status, stderr } = await kubernetes.sh(script, checkout)
    t.equal(status, 0, `${path}: ${text}${status === 0 ? '' : `\n${stderr}`}`)
  }
})

/** What the others need to have happened. */
const CHANGES = /registry-trust (apply --config|uninstall)/

/** After those of the variables, `NAME=…`, that the command needs, and those that these need: each asks the server. */
function withVariables(text: string, variables: readonly string[]): string {
  const needed = variables.filter((line) => line !== text && text.includes(`$${line.split('=')[0]}`))
  return needed.length === 0 ? text : [...needed.map((line) => withVariables(line, variables)), text].join('\n')
}

function isRunbook(path: string): boolean {
  return path.startsWith('docs/runbooks/')
}

const IN_NAMESPACE = [
  ...['api/v1/X/configmaps', 'api/v1/X/secrets', 'api/v1/X/serviceaccounts'],
  ...['apis/apps/v1/X/daemonsets', 'apis/networking.k8s.io/v1/X/networkpolicies'],
]

/** Neither a release of helm, which is a Secret, nor what a release or a folder of manifests has made. */
async function fromNothing(kubernetes: Kubernetes): Promise<void> {
  for (const path of IN_NAMESPACE)
    await kubernetes.request('DELETE', `/${path.replace('X', 'namespaces/registry-trust')}`)
}

/** For a page that changes a release which an earlier section has taken away. */
async function haveRelease(t: Test, kubernetes: Kubernetes, checkout: string): Promise<void> {
  const { body } = await kubernetes.request('GET', '/api/v1/namespaces/registry-trust/secrets')
  const { items } = body as { readonly items: readonly { readonly metadata: { readonly name: string } }[] }
  if (items.some(({ metadata }) => metadata.name.startsWith('sh.helm.release.'))) return
  await fromNothing(kubernetes)
  const install = 'helm install registry-trust daemonset/chart --namespace registry-trust --create-namespace'
  const config = "--set-file 'config.trust\\.yaml=daemonset/example/trust.yaml'"
  t.match(await kubernetes.sh(`${install} ${config}`, checkout), { status: 0 })
}

/** The checkout as a user of docs/quick-start.md has it by the end: with manifests and a configuration of his own. */
async function checkoutWithManifests(t: Test): Promise<string> {
  const folder = t.testdir({ install: {}, 'my-config': {} })
  for (const name of ['daemonset', 'scripts', 'docs']) symlinkSync(join(ROOT, name), join(folder, name))
  for (const name of ['trust.yaml', 'corp-root.pem'])
    symlinkSync(join(ROOT, 'daemonset/example', name), join(folder, 'my-config', name))
  const image = `harbor.example.net/platform/registry-trust@sha256:${'0'.repeat(64)}`
  writeManifests({ image, out: join(folder, 'install'), profiles: ['hosts-proof'] })
  return folder
}

/** No controller and no kubelet runs here: this makes the Pod, and writes the status, that they would. */
async function actForTheControllers(kubernetes: Kubernetes): Promise<void> {
  const { status, body } = await kubernetes.request('GET', DAEMON_SET)
  if (status !== 200) return
  const { metadata, spec } = body as {
    readonly metadata: { readonly generation: number }
    readonly spec: { readonly template: { readonly metadata: object; readonly spec: object } }
  }
  const done = { currentNumberScheduled: 1, desiredNumberScheduled: 1, updatedNumberScheduled: 1, numberAvailable: 1 }
  const observed = { ...done, numberReady: 1, numberMisscheduled: 0, observedGeneration: metadata.generation }
  await kubernetes.request('PUT', `${DAEMON_SET}/status`, { ...body, status: observed })
  await kubernetes.request('POST', '/api/v1/namespaces/registry-trust/pods', {
    metadata: { ...spec.template.metadata, name: 'registry-trust-worker-1' },
    spec: { ...spec.template.spec, nodeName: 'worker-1' },
  })
}

newestGeneration(t, 'what runs on a node', async (t, generation) => {
  const node = await sandboxNode(t, { generation })
  const { registry, authority } = await startPrivateRegistry(node, HOST)
  await registry.store('library/nginx', '1', tinyImage('nginx'))
  // A place like the checkout that README.md speaks of.
  const folder = join(node.scratch, 'checkout')
  mkdirSync(join(folder, 'my-config'), { recursive: true })
  for (const name of ['scripts', 'daemonset']) symlinkSync(join(ROOT, name), join(folder, name))
  const trust = { registries: [{ host: HOST, ca: 'corp-root.pem' }], restart: { strategy: 'signal' } }
  writeFileSync(join(folder, 'my-config/trust.yaml'), JSON.stringify(trust))
  for (const place of ['my-config/corp-root.pem', 'corp-root.pem']) writeFileSync(join(folder, place), authority.pem)
  // Where a Pod has it mounted.
  await node.writeFile('/etc/registry-trust/trust.yaml', JSON.stringify(trust))
  await node.writeFile('/etc/registry-trust/corp-root.pem', authority.pem)
  const sh = async (text: string) => {
    const script = `cd '${folder}'; PATH="$PWD/scripts:$PATH"; ${text}`
    return await node.exec(['bash', '-c', script], { timeoutMs: 90_000 })
  }

  const commands = commandsOn('node')
  t.ok(commands.length > 10)
  const [daemon] = commands.filter(({ place }) => place.exits.length === 0)
  const isLast = (text: string) => text === 'registry-trust uninstall'
  // The same command on several pages, installed or from the checkout, is run once.
  const byWhat = Map.groupBy(
    commands.filter(({ place }) => place.exits.length > 0),
    ({ command }) => command.text.replace('./scripts/', ''),
  )
  const once = [...byWhat.values()].flatMap(([first]) => first ?? [])
  const changing = once.filter(({ command }) => CHANGES.test(command.text))
  const asking = partOf(
    once.filter(({ command }) => !CHANGES.test(command.text)),
    2,
  )
  const ordered = [
    ...once.filter((one) => (changing.includes(one) || asking.includes(one)) && !isLast(one.command.text)),
    ...changing.filter(({ command }) => isLast(command.text)),
  ]
  for (const { command, place } of ordered) {
    const { code, stdout, stderr } = await sh(command.text)
    t.ok(place.exits.includes(code), `${command.path}: ${command.text}: ${code}\n${stdout}${stderr}`)
    if (command.text !== './scripts/registry-trust apply --config ./my-config') continue
    // From here on the daemon runs that the others ask.
    const service = await node.start(['bash', '-c', `cd '${folder}'; exec ${daemon?.command.text}`])
    await service.waitFor(/"msg":"listening"/)
    t.teardown(() => service.stop())
    await new Daemon(node, service).until(({ state }) => state === 'converged')
  }
})
