// A node seen through mounts, as in a Pod: what is not mounted is not taken for gone, so that nothing of ours is
// forgotten on the node.
import { join } from 'node:path'
import t from 'tap'
import { BY_SIGNAL, contents } from '../fixtures/e2e/agent-on-node.ts'
import { nodeWithRegistry } from '../fixtures/e2e/registry-node.ts'
import { newestGeneration } from '../fixtures/node/node-tests.ts'
import { defaultConfig, withConfigPath } from '../fixtures/node/sandbox-node.ts'

const HOST = 'harbor.example.net'
const DOCKER_CA = `/etc/docker/certs.d/${HOST}/ca.crt`
const MOUNTED = [
  '/etc/containerd',
  '/etc/docker',
  '/etc/ssl/certs',
  '/usr',
  '/usr/local/share/ca-certificates',
  '/run',
  '/var/lib/registry-trust',
]

newestGeneration(t, 'a folder that is not mounted any more is not taken for gone', async (t, generation) => {
  const { node, authority, agent } = await nodeWithRegistry(t, HOST, {
    generation,
    config: withConfigPath(defaultConfig(generation)),
  })
  await agent.configure(
    { registries: [{ host: HOST, ca: 'ca.pem' }], targets: { docker: { enabled: true } }, ...BY_SIGNAL },
    { 'ca.pem': authority.pem },
  )
  const root = join(node.scratch, 'host')
  await node.run(['mkdir', '-p', '/etc/docker', '/var/lib/registry-trust'])
  const before = await contents(node, '/etc/containerd', '/etc/docker', '/etc/ssl/certs')
  for (const path of MOUNTED)
    await node.run(['sh', '-c', `mkdir -p ${root}${path} && mount --bind ${path} ${root}${path}`])
  const command = (name: string) => agent.command(name, '--root', root, '--json')

  const applied = await command('apply')
  t.equal(applied.code, 0, applied.stdout + applied.stderr)
  t.equal((await node.exec(['test', '-e', DOCKER_CA])).code, 0)

  await node.run(['umount', `${root}/etc/docker`])
  const unseen = { code: 'TARGET_NOT_MOUNTED', message: /^\/etc\/docker of the node is not mounted.*/ }
  const planned = JSON.parse((await command('plan')).stdout)
  t.match(planned.problems, [unseen])
  t.same(planned.changes, [])
  const doctor = await agent.command('doctor', '--root', root)
  t.match(doctor.stdout, /error {2}\/etc\/docker: is not mounted from the node.*\n.*components\/builders/)

  const halfway = await command('uninstall')
  t.equal(halfway.code, 3, halfway.stdout)
  t.match(JSON.parse(halfway.stdout).problems, [{ code: 'TARGET_NOT_MOUNTED' }])
  t.equal((await node.exec(['test', '-e', DOCKER_CA])).code, 0, 'it is still there, and known to be')

  await node.run(['mount', '--bind', '/etc/docker', `${root}/etc/docker`])
  const whole = await command('uninstall')
  t.equal(whole.code, 0, whole.stdout)
  t.equal(await contents(node, '/etc/containerd', '/etc/docker', '/etc/ssl/certs'), before)
})
