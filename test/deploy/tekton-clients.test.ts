// What Tekton's controller, kaniko and Git do with the ConfigMaps that `publish` writes, shown with their closest real
// parts that Debian has. The controller and kaniko themselves are not run. Both reach a registry through
// go-containerregistry, which is run here as `crane`, with verification on: for the controller under the variables and
// the user of its own Deployment, for kaniko with the files of the example Task. kaniko reads its own flag
// --registry-certificate: the file is added to the system's roots, which is what SSL_CERT_FILE does to crane.
// https://github.com/tektoncd/pipeline/blob/main/config/controller.yaml
// https://github.com/GoogleContainerTools/kaniko/blob/main/pkg/util/transport_util.go
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { PublishingCluster } from '../fixtures/cluster/published.ts'
import { writeConfigMap } from '../fixtures/deploy/cri-pod.ts'
import { environmentOf, mountOf, stepOf, substituted } from '../fixtures/deploy/tekton-objects.ts'
import { createAuthority, issueServer } from '../fixtures/node/certificates.ts'
import { tool } from '../fixtures/node/generations.ts'
import type { ExecResult } from '../fixtures/node/namespaces.ts'
import { newestGeneration, sandboxNode } from '../fixtures/node/node-tests.ts'
import { startRegistry } from '../fixtures/node/registry.ts'
import type { SandboxNode } from '../fixtures/node/sandbox-node.ts'

const HOST = 'harbor.example.net'
const PUBLIC_HOST = 'public.example.net'
const GIT = 'git.example.net'
const USER = { username: 'robot$ci', password: 'se:cret' }
const DISTRUST = /x509: certificate signed by unknown authority/

const CONTROLLER_MAP = 'tekton-pipelines/config-registry-cert'
const BUILDS_MAP = 'builds/registry-trust-ca'
const CONTROLLER_USER = ['setpriv', '--reuid', '65532', '--regid', '65532', '--clear-groups', '--no-new-privs']
const CONTROLLER = { SSL_CERT_FILE: '/etc/config-registry-cert/cert', SSL_CERT_DIR: '/etc/ssl/certs' }

const trust = (ca: string) => ({
  registries: [{ host: HOST, ca }],
  publish: { tekton: true, configMaps: [{ namespace: 'builds', name: 'registry-trust-ca' }] },
})
const dockerConfig = (password: string) =>
  JSON.stringify({ auths: { [HOST]: { auth: Buffer.from(`${USER.username}:${password}`).toString('base64') } } })

newestGeneration(t, 'the published ConfigMaps make clients in Pods trust', async (t, generation) => {
  const node = await sandboxNode(t, { generation, startContainerd: false })
  const pki = join(node.scratch, 'pki')
  const authority = await createAuthority(pki, 'Corp Root')
  const next = await createAuthority(pki, 'Next Root')
  const publicRoot = await createAuthority(pki, 'Public Root')
  const address = await node.newAddress()
  const registryOf = async (signer: typeof authority) =>
    await startRegistry(node, {
      ...{ host: HOST, address, credentials: USER },
      certificate: await issueServer(signer, pki, [HOST]),
    })
  let registry = await registryOf(authority)
  const elsewhere = await startRegistry(node, {
    host: PUBLIC_HOST,
    certificate: await issueServer(publicRoot, pki, [PUBLIC_HOST]),
  })
  const image = registry.reference()
  await node.writeFile('/etc/ssl/certs/Public_Root.pem', publicRoot.pem)
  const cluster = await PublishingCluster.start(t, join(node.scratch, 'cluster'))
  cluster.configure(trust('corp.pem'), { 'corp.pem': authority.pem, 'next.pem': authority.pem + next.pem })

  const crane = async (argv: readonly string[], env: { readonly [name: string]: string }, as: readonly string[] = []) =>
    await node.exec([...as, tool('crane', 'crane'), ...argv], { env: { HOME: '/', ...env } })
  const mount = (configMap: string, path: string) => writeConfigMap(node, path, cluster.dataOf(configMap))

  await t.test("Tekton's controller looks up an entrypoint", async (t) => {
    writeConfigMap(node, '/run/pull-secret', { 'config.json': dockerConfig(USER.password) })
    const env = { ...CONTROLLER, DOCKER_CONFIG: '/run/pull-secret' }
    const entrypoint = async (of = image) => await crane(['config', of], env, CONTROLLER_USER)

    mount(CONTROLLER_MAP, '/etc/config-registry-cert')
    refused(t, await entrypoint(), 'while the ConfigMap has no key')
    await cluster.publish()
    mount(CONTROLLER_MAP, '/etc/config-registry-cert')
    const found = await entrypoint()
    t.equal(found.code, 0, found.stderr)
    t.same((JSON.parse(found.stdout) as { config: { Entrypoint: string[] } }).config.Entrypoint, ['/hello'])
    const other = await entrypoint(elsewhere.reference())
    t.equal(other.code, 0, `nothing is taken away from what the system trusts: ${other.stderr}`)

    await registry.stop()
    registry = await registryOf(next)
    refused(t, await entrypoint(), 'when the registry has a certificate of a CA that is not published yet')
    cluster.configure(trust('next.pem'), {})
    await cluster.publish()
    refused(t, await entrypoint(), 'until the kubelet has brought the new content')
    mount(CONTROLLER_MAP, '/etc/config-registry-cert')
    const rotated = await entrypoint()
    t.equal(rotated.code, 0, rotated.stderr)
  })

  await t.test('kaniko logs in and pushes with the mounts of the example Task', async (t) => {
    const step = stepOf('build-kaniko')
    const values = { 'params.host': HOST, 'params.image': registry.reference('team/app:1') }
    const argument = (flag: string) =>
      substituted(step.args?.find((arg) => arg.startsWith(`--${flag}=`)) ?? '', values).slice(flag.length + 3)
    const [host, certificate = ''] = argument('registry-certificate').split('=')
    t.equal(host, HOST, 'the host is spelled as in the image reference: kaniko looks it up by that')
    const ca = mountOf('build-kaniko', { configMap: 'registry-trust-ca' })
    t.same(ca.items, [], 'every key of the ConfigMap is a file')
    const login = mountOf('build-kaniko', { secret: '$(params.login)' })
    t.same(login.items, [{ key: '.dockerconfigjson', path: 'config.json' }])

    const env = { ...environmentOf(step, values), SSL_CERT_FILE: certificate }
    const layer = join(node.scratch, 'layer.tar')
    await node.run(['tar', '-C', '/etc/ssl', '-cf', layer, 'certs/Public_Root.pem'])
    const push = async () => await crane(['append', '-f', layer, '-t', argument('destination')], env)
    refused(t, await push(), 'before the ConfigMap is mounted')
    mount(BUILDS_MAP, ca.path)
    t.match(await push(), { code: 1, stderr: /UNAUTHORIZED|401/ }, 'it is trusted, and wants a login')
    writeConfigMap(node, login.path, { 'config.json': dockerConfig('wrong') })
    t.match(await push(), { code: 1, stderr: /UNAUTHORIZED|401/ })
    writeConfigMap(node, login.path, { 'config.json': dockerConfig(USER.password) })
    const pushed = await push()
    t.equal(pushed.code, 0, pushed.stderr)
    t.match(
      (await registry.accessLog()).filter(({ method, url }) => method === 'PUT' && url === '/v2/team/app/manifests/1'),
      [{ status: 201, userAgent: /go-containerregistry/ }],
    )
    t.notMatch(step.args?.join(' ') ?? '', /skip-tls|insecure/)
    // As Go reads it: every file in each of the folders; the first one is that of kaniko's image.
    const { SSL_CERT_DIR = '' } = environmentOf(step, values)
    t.same(SSL_CERT_DIR.split(':'), ['/kaniko/ssl/certs', ca.path], 'FROM another declared registry')
    const other = await crane(['digest', registry.reference('team/app:1')], {
      ...env,
      SSL_CERT_FILE: '/nowhere',
      SSL_CERT_DIR,
    })
    t.equal(other.code, 0, other.stderr)
  })

  await t.test("the example Task's script clones with the published bundle", async (t) => {
    await startGitServer(node, await issueServer(authority, pki, [GIT]))
    const step = stepOf('git-clone')
    const { path } = mountOf('git-clone', { configMap: 'registry-trust-ca' })
    await node.run(['rm', '-rf', path])
    const env = environmentOf(step, { 'params.url': `https://${GIT}/project.git`, 'params.revision': 'main' })
    t.match(env['GIT_SSL_CAINFO'], `${path}/`)
    const clone = async (cwd: string) => {
      await node.run(['mkdir', '-p', cwd])
      return await node.exec(['sh', '-c', step.script ?? ''], { env: { ...env, HOME: '/run' }, cwd })
    }
    writeConfigMap(node, path, { 'ca-bundle.crt': publicRoot.pem })
    const distrusted = await clone('/run/before')
    t.not(distrusted.code, 0)
    t.match(distrusted.stderr, /certificate verification failed|certificate problem/)
    mount(BUILDS_MAP, path)
    const cloned = await clone('/run/source')
    t.equal(cloned.code, 0, cloned.stderr)
    t.equal(await node.readFile('/run/source/README'), 'hello\n')
    await node.run(['sh', '-c', 'cd /run/source && echo theirs > README && touch .git/index.lock left .hidden'])
    const again = await clone('/run/source')
    t.equal(again.code, 0, `a workspace that was used: ${again.stderr}`)
    t.equal(await node.readFile('/run/source/README'), 'hello\n')
    t.not((await node.exec(['test', '-e', '/run/source/left'])).code, 0)
  })
})

function refused(t: Test, { code, stderr }: ExecResult, when: string): void {
  t.not(code, 0, `refused ${when}`)
  t.match(stderr, DISTRUST, when)
}

async function startGitServer(
  node: SandboxNode,
  { chainFile, keyFile }: { readonly chainFile: string; readonly keyFile: string },
): Promise<void> {
  const folder = join(node.scratch, 'git')
  const work = join(folder, 'work')
  mkdirSync(work, { recursive: true })
  writeFileSync(join(work, 'README'), 'hello\n')
  const author = ['-c', 'user.name=Fixture', '-c', 'user.email=fixture@example.net']
  const git = (...argv: readonly string[]) => execFileSync('git', [...author, ...argv], { cwd: work, stdio: 'pipe' })
  git('init', '--quiet', '--initial-branch', 'main')
  git('add', 'README')
  git('commit', '--quiet', '--message', 'first')
  git('clone', '--quiet', '--bare', '.', join(folder, 'project.git'))
  const address = await node.newAddress()
  await node.setHost(GIT, address)
  const program = join(import.meta.dirname, '../fixtures/node/git-server.ts')
  const service = await node.start([process.execPath, program, address, '443', chainFile, keyFile, folder], {
    place: 'neighbour',
  })
  await service.waitFor(/^listening$/m)
}
