// Everything on a node that talks to a private registry or Git server: refused before `apply`, over verified TLS
// afterwards, and refused again when the registry is no longer declared. No program gets a flag that weakens
// verification.
import { execFileSync } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import {
  AgentOnNode,
  contents,
  newestToTest,
  type PrivateRegistry,
  startPrivateRegistry,
} from '../fixtures/e2e/agent-on-node.ts'
import { Builders } from '../fixtures/node/builders.ts'
import { issueServer } from '../fixtures/node/certificates.ts'
import type { ExecResult } from '../fixtures/node/namespaces.ts'
import { defaultConfig, type SandboxNode, startSandboxNode, withConfigPath } from '../fixtures/node/sandbox-node.ts'

const HOST = 'harbor.example.net'
const GIT = 'git.example.net'
const FOLDERS = ['/etc/docker', '/etc/containers', '/etc/ssl/certs', '/usr/local/share/ca-certificates']

t.test('buildah, skopeo, podman, dockerd, ctr, curl, git and openssl', { timeout: 240_000 }, async (t) => {
  const generation = newestToTest()
  const node = await startSandboxNode({ generation, config: withConfigPath(defaultConfig(generation)) })
  t.teardown(() => node.dispose())
  const { registry, authority } = await startPrivateRegistry(node, HOST, { port: 5000 })
  await startGitServer(node, authority)
  const builders = await Builders.on(node)
  await builders.startDockerd()
  const image = registry.reference()
  const pushed = (by: string) => registry.reference(`library/by-${by}:1`)
  const agent = await AgentOnNode.on(node)

  const programs: { readonly [name: string]: () => Promise<ExecResult> } = {
    skopeo: () => builders.skopeo('copy', `docker://${image}`, `docker://${pushed('skopeo')}`),
    'buildah pull': () => builders.buildah('pull', '--policy', 'always', image),
    'podman pull': () => builders.podman('pull', image),
    'docker pull': () => builders.docker('pull', image),
    ctr: () =>
      node.exec(['ctr', 'images', 'pull', '--hosts-dir', '/etc/containerd/certs.d', image], {
        env: { PATH: `${generation.bin}:/usr/sbin:/usr/bin:/sbin:/bin` },
      }),
    curl: () => node.exec(['curl', '--silent', '--show-error', '--fail', `https://${registry.host}/v2/`]),
    git: () => node.exec(['git', 'ls-remote', `https://${GIT}/project.git`], { env: { HOME: '/run' } }),
    openssl: () =>
      node.exec([
        'openssl',
        's_client',
        '-connect',
        registry.host,
        '-servername',
        HOST,
        '-verify_return_error',
        '-brief',
      ]),
  }
  const distrust =
    /unknown authority|certificate verify failed|unable to get local issuer|verify error|verification failed|not trusted/i
  const refused = async (when: string) => {
    for (const [name, run] of Object.entries(programs)) {
      const { code, stdout, stderr } = await run()
      t.not(code, 0, `${name} is refused ${when}`)
      t.match(stdout + stderr, distrust, `${name} says that it does not trust the certificate ${when}`)
    }
  }

  await refused('before')
  const before = await contents(node, ...FOLDERS)
  const trust = { registries: [{ host: registry.host, ca: 'corp-root.pem' }] }
  await agent.configure(trust, { 'corp-root.pem': authority.pem })
  const applied = await agent.apply()
  t.equal(applied.code, 0, JSON.stringify(applied.report))
  for (const [name, run] of Object.entries(programs)) {
    const { code, stdout, stderr } = await run()
    t.equal(code, 0, `${name} works after apply: ${stdout}${stderr}`.slice(0, 500))
  }
  for (const [name, push] of Object.entries({
    buildah: () => builders.buildah('push', image, `docker://${pushed('buildah')}`),
    podman: () => builders.podman('push', image, pushed('podman')),
    docker: async () => {
      await builders.docker('tag', image, pushed('docker'))
      return builders.docker('push', pushed('docker'))
    },
  })) {
    const { code, stdout, stderr } = await push()
    t.equal(code, 0, `${name} push works: ${stdout}${stderr}`.slice(0, 500))
  }
  for (const by of ['skopeo', 'buildah', 'podman', 'docker'])
    t.match(await node.pull(pushed(by)), { ok: true }, `what ${by} pushed can be pulled by the kubelet's runtime`)

  await agent.configure({ registries: [] })
  t.equal((await agent.apply()).code, 0)
  t.equal(await contents(node, ...FOLDERS), before, 'nothing is left in the folders of the builders')
  await builders.buildah('rmi', '--all', '--force')
  await builders.podman('rmi', '--all', '--force')
  await refused('afterwards')
})

/** A bare repository behind TLS, for Git's plain file protocol. */
async function startGitServer(node: SandboxNode, authority: PrivateRegistry['authority']): Promise<void> {
  const folder = join(node.scratch, 'git')
  const work = join(folder, 'work')
  await mkdir(work, { recursive: true })
  await writeFile(join(work, 'README'), 'hello\n')
  const git = (...argv: readonly string[]) =>
    execFileSync('git', ['-c', 'user.name=Fixture', '-c', 'user.email=fixture@example.net', ...argv], {
      cwd: work,
      stdio: 'pipe',
    })
  git('init', '--quiet')
  git('add', 'README')
  git('commit', '--quiet', '--message', 'first')
  git('clone', '--quiet', '--bare', '.', join(folder, 'project.git'))
  execFileSync('git', ['update-server-info'], { cwd: join(folder, 'project.git') })
  const { chainFile, keyFile } = await issueServer(authority, folder, [GIT])
  const address = await node.newAddress()
  await node.setHost(GIT, address)
  const argv = [
    process.execPath,
    join(import.meta.dirname, '../fixtures/node/file-server.ts'),
    address,
    '443',
    chainFile,
    keyFile,
    folder,
  ]
  const service = await node.start(argv, { place: 'neighbour' })
  await service.waitFor(/^listening$/m)
}
