// The Tekton examples: whole (every name they use is there), and the buildah Task's own script run with the real
// buildah against a registry that wants a login, with the CA from the published ConfigMap's content.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { configMapKey } from '../../agent/cluster/publish.ts'
import {
  environmentOf,
  stepOf,
  TEKTON_FOLDER,
  taskNamed,
  tasks,
  tektonObjects,
} from '../fixtures/deploy/tekton-objects.ts'
import { newestToTest } from '../fixtures/e2e/agent-on-node.ts'
import { Builders } from '../fixtures/node/builders.ts'
import { createAuthority, issueServer } from '../fixtures/node/certificates.ts'
import { startRegistry } from '../fixtures/node/registry.ts'
import { startSandboxNode } from '../fixtures/node/sandbox-node.ts'

const HOST = 'harbor.example.net'
const USER = { username: 'robot$ci', password: 'se:cret' }

t.test('the pipeline uses Tasks that are there, and gives every parameter without a default', async (t) => {
  const pipeline = tektonObjects.find(({ kind }) => kind === 'Pipeline')
  for (const { taskRef, params } of pipeline?.spec.tasks ?? []) {
    const task = taskNamed(taskRef.name)
    const given = params.map(({ name }) => name)
    for (const { name, default: preset } of task.spec.params ?? [])
      t.ok(preset !== undefined || given.includes(name), `${taskRef.name} ${name}`)
    if (task.spec.params?.some(({ name }) => name === 'host')) t.ok(given.includes('host'), taskRef.name)
    for (const name of given)
      t.ok(
        task.spec.params?.some((param) => param.name === name),
        `${taskRef.name} knows ${name}`,
      )
  }
  t.same(tasks.map(({ metadata }) => metadata.name).sort(), [
    'build-buildah',
    'build-docker',
    'build-kaniko',
    'git-clone',
  ])
})

t.test('they mount the ConfigMaps that publish writes, with keys as it spells them', async (t) => {
  const published = readFileSync(join(TEKTON_FOLDER, '../publish/configmaps.yaml'), 'utf8')
  for (const { metadata, spec } of tasks) {
    const maps = (spec.volumes ?? []).flatMap(({ configMap }) => configMap ?? [])
    t.equal(maps.length, 1, metadata.name)
    for (const { name, items = [], optional = false } of maps) {
      t.match(published, `name: ${name}\n`)
      for (const { key, path } of items) t.equal(key, configMapKey(path.split('/')[0] ?? ''))
      t.equal(optional, items.length > 0, `${metadata.name}: a host that is not published yet does not hold up the Pod`)
    }
  }
})

t.test("every step names its command: the controller need not ask a registry for the image's entrypoint", async (t) => {
  for (const { metadata, spec } of tasks)
    for (const step of spec.steps ?? [])
      t.ok(step.script !== undefined || step.command !== undefined, `${metadata.name} ${step.name}`)
})

t.test(
  'the buildah Task builds and pushes over verified TLS, and is refused without the CA',
  { timeout: 240_000 },
  async (t) => {
    const generation = newestToTest()
    const node = await startSandboxNode({ generation, startContainerd: false })
    t.teardown(() => node.dispose())
    const pki = join(node.scratch, 'pki')
    const authority = await createAuthority(pki, 'Corp Root')
    const registry = await startRegistry(node, {
      host: HOST,
      certificate: await issueServer(authority, pki, [HOST]),
      credentials: USER,
    })
    const builders = await Builders.on(node)
    const image = registry.reference('team/app:1')
    await node.writeFile('/run/work/Dockerfile', 'FROM scratch\nCOPY hello /hello\n')
    await node.writeFile('/run/work/hello', 'hello\n')
    await node.writeFile(
      '/run/config.json',
      JSON.stringify({
        auths: { [HOST]: { auth: Buffer.from(`${USER.username}:${USER.password}`).toString('base64') } },
      }),
    )
    const step = stepOf('build-buildah')
    const values = { 'params.image': image, 'params.dockerfile': './Dockerfile', 'results.digest.path': '/run/digest' }
    const env = { ...environmentOf(step, values), REGISTRY_AUTH_FILE: '/run/config.json' }
    const run = () => builders.script(step.script ?? '', env, '/run/work')

    const refused = await run()
    t.not(refused.code, 0)
    t.match(refused.stderr, /x509: certificate signed by unknown authority/)
    await node.writeFile(`/etc/containers/certs.d/${HOST}/ca.crt`, authority.pem)
    const pushed = await run()
    t.equal(pushed.code, 0, pushed.stderr)
    t.match(await node.readFile('/run/digest'), /^sha256:[0-9a-f]{64}/)
    t.ok(
      (await registry.accessLog()).some(
        ({ method, url, status }) => method === 'PUT' && url.includes('/manifests/') && status === 201,
      ),
    )
  },
)
