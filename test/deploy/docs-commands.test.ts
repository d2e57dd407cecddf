// Every command that the documentation shows is run: kubectl on Kubernetes' own server library, registry-trust on a
// fixture node with a private registry, the rest as the table says (test/fixtures/deploy/documented-commands.ts).
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
  const commands = commandsOn('cluster').map(({ command }) => command)
  t.ok(commands.length > 10)
  // The variables of docs/runbooks/README.md hold on the other pages as well; $AGENT is found by $NODE.
  const variables = commands.filter(({ text }) => /^[A-Z]+=/.test(text)).map(({ text }) => text)
  let isThere = false
  const checkout = await checkoutWithManifests(t)
  for (const { path, text } of commands) {
    // README.md and docs/deployment.md, which come first, begin with an empty cluster and leave one
    if (!['README.md', 'docs/deployment.md'].includes(path) && !isThere) {
      await kubernetes.sh(FROM_NOTHING, checkout)
      for (const folder of ['example', 'monitoring'])
        for (const { status, body } of await applyAll(kubernetes, await render(folder)))
          t.ok(status === 200 || status === 201, `${folder}: ${JSON.stringify(body)}`)
      isThere = true
    }
    if (text.includes('--reset-then-reuse-values')) await kubernetes.sh(A_RELEASE, checkout)
    await actForTheControllers(kubernetes)
    if (text.endsWith('--values my-values.yaml')) {
      // As somebody who begins with this page: nothing is installed yet, and the values are those of the page.
      await kubernetes.sh(FROM_NOTHING, checkout)
      writeFileSync(join(checkout, 'my-values.yaml'), yamlOf(path))
    }
    const script = path.startsWith('docs/runbooks/') ? withVariables(text, variables) : text
    const { status, stderr } = await kubernetes.sh(script, checkout)
    t.equal(status, 0, `${path}: ${text}${status === 0 ? '' : `\n${stderr}`}`)
  }
})

/** After those of the variables, `NAME=…`, that the command needs, and those that these need: each asks the server. */
function withVariables(text: string, variables: readonly string[]): string {
  const needed = variables.filter((line) => line !== text && text.includes(`$${line.split('=')[0]}`))
  return needed.length === 0 ? text : [...needed.map((line) => withVariables(line, variables)), text].join('\n')
}

const FROM_NOTHING = `helm --namespace registry-trust uninstall registry-trust --ignore-not-found
kubectl -n registry-trust delete daemonset,networkpolicy,serviceaccount,configmap registry-trust --ignore-not-found`

/** For a page that changes a release which an earlier section has taken away. */
const A_RELEASE = `helm --namespace registry-trust status registry-trust >/dev/null 2>&1 || {
  ${FROM_NOTHING}
  helm install registry-trust daemonset/chart --namespace registry-trust --create-namespace \\
    --set-file 'config.trust\\.yaml=daemonset/example/trust.yaml'
}`

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
  symlinkSync(join(ROOT, 'scripts'), join(folder, 'scripts'))
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
  const ordered = [
    ...commands.filter(({ command, place }) => place.exits.length > 0 && !isLast(command.text)),
    ...commands.filter(({ command }) => isLast(command.text)),
  ]
  const seen = new Set<string>()
  for (const { command, place } of ordered) {
    // the same command on several pages, installed or from the checkout, is run once
    const what = command.text.replace('./scripts/', '')
    if (seen.has(what)) continue
    seen.add(what)
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
