// Without Kubernetes: the unit as it is shipped, on a real systemd, does the whole job with no capability. With
// REGISTRY_TRUST_FULL=1 from the Debian package too, which takes half a minute to pack.
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { packDebian } from '../../scripts/releasing/programs.ts'
import { contents, startPrivateRegistry, TRUST_FOLDERS } from '../fixtures/e2e/agent-on-node.ts'
import { newestSystemdGeneration, systemdNode } from '../fixtures/node/node-tests.ts'
import { until } from '../fixtures/node/private-containerd.ts'

const ROOT = join(import.meta.dirname, '../..')
const HOST = 'harbor.example.net'
const UNIT = 'registry-trust.service'
const LIB = '/usr/local/lib/registry-trust'

newestSystemdGeneration(t, 'the systemd unit', async (t, generation) => {
  const program = `#!/bin/sh\nunset NODE_OPTIONS\nexec /usr/local/lib/node ${LIB}/registry-trust.cjs "$@"\n`
  const node = await systemdNode(t, {
    generation,
    runContainers: true,
    binds: [join(ROOT, 'dist'), dirname(process.execPath)],
    files: { [`/etc/systemd/system/${UNIT}`]: readFileSync(join(ROOT, 'daemonset/systemd', UNIT), 'utf8') },
  })
  // Installed on the node: a checkout may lie in /tmp, which the unit does not see (PrivateTmp).
  await node.run(['cp', process.execPath, '/usr/local/lib/node'])
  await node.run(['sh', '-c', `mkdir ${LIB} && cp ${join(ROOT, 'dist')}/registry-trust*.cjs ${LIB}`])
  await node.writeFile('/usr/local/bin/registry-trust', program, 0o755)
  const { registry, authority } = await startPrivateRegistry(node, HOST)
  await node.writeFile('/etc/registry-trust/ca.pem', authority.pem)
  await node.writeFile('/etc/registry-trust/trust.yaml', JSON.stringify({ registries: [{ host: HOST, ca: 'ca.pem' }] }))
  const witness = await node.runContainer()
  const facts = await witness.facts()

  await node.run(['systemctl', 'daemon-reload'])
  await node.run(['systemctl', 'enable', '--now', UNIT])
  const status = async () =>
    (await node.exec(['/usr/local/bin/registry-trust', 'status', '--json', '--listen', '127.0.0.1:9461'])).stdout
  const log = async () => (await node.exec(['journalctl', '--no-pager', '--unit', UNIT, '--output', 'cat'])).stdout
  await until(async () => (await status()).includes('"converged"'), 40_000).catch(async () =>
    t.fail(`${await status()}${await log()}`),
  )
  t.match(await node.pull(registry.reference()), { ok: true })
  t.same(await witness.facts(), facts)
  const pid = await node.unitProperty('MainPID', UNIT)
  t.match(await node.readFile(`/proc/${pid}/status`), /^CapEff:\t0+$/m)
  t.equal(await node.unitProperty('Result', UNIT), 'success')

  // With the drop-in of docs/install.md, and only with it, the unit writes files of /etc itself.
  const page = readFileSync(join(ROOT, 'docs/install.md'), 'utf8')
  const dropIn = page.match(/^.*registry-trust\.service\.d.*$/gm) ?? []
  t.equal(dropIn.length, 2)
  const withCrictl = { registries: [{ host: HOST, ca: 'ca.pem' }], targets: { crictl: { enabled: true } } }
  await node.writeFile('/etc/registry-trust/trust.yaml', JSON.stringify(withCrictl))
  await until(async () => (await status()).includes('crictl'), 20_000)
  t.not((await node.exec(['test', '-e', '/etc/crictl.yaml'])).code, 0, 'not permitted by the unit as it is shipped')
  await node.run(['sh', '-ec', dropIn.join('\n')])
  await node.run(['systemctl', 'daemon-reload'])
  await node.run(['systemctl', 'restart', UNIT])
  await until(async () => (await node.exec(['test', '-e', '/etc/crictl.yaml'])).code === 0, 40_000)

  await node.run(['systemctl', 'stop', UNIT])
  t.equal(await node.unitProperty('Result', UNIT), 'success', 'SIGTERM ends it well')
  t.match(await node.pull(registry.reference()), { ok: true }, 'stopping it takes nothing off')
  t.match(await node.exec(['/usr/local/bin/registry-trust', 'uninstall'], { timeoutMs: 60_000 }), { code: 0 })
  t.match(await node.pull(`${HOST}/library/other:1`), { ok: false, message: /x509/ })
})

const ARCHITECTURE = process.arch === 'arm64' ? 'arm64' : 'amd64'
/** Where a file of the package may lie. */
const PLACES = ['/usr', '/lib/systemd', '/etc', '/var/lib/registry-trust', '/var/lib/dpkg/info']

// dpkg installs it and starts nothing, an upgrade goes on with the new program, and after uninstall and purge nothing of
// it is left.
if (process.env['REGISTRY_TRUST_FULL'] === '1')
  newestSystemdGeneration(t, 'the Debian package', async (t, generation) => {
    const out = t.testdir({})
    const folder = join(out, 'content')
    execFileSync(process.execPath, [join(ROOT, 'scripts/image-content.ts'), folder, ARCHITECTURE], { cwd: ROOT })
    for (const version of ['0.1.0', '0.1.1']) {
      const scratch = join(out, version)
      mkdirSync(scratch)
      packDebian({ folder, architecture: ARCHITECTURE, version, compression: 1, out, scratch })
    }
    const node = await systemdNode(t, { generation, runContainers: true, binds: [out] })
    const dpkg = (...args: readonly string[]) => node.exec(['dpkg', ...args], { timeoutMs: 60_000 })
    const names = async () =>
      // One of the places is not there at the beginning and at the end.
      (await node.exec(['find', ...PLACES, '-name', '*registry-trust*'])).stdout.trim()
    const packageOf = (version: string) => join(out, `registry-trust_${version}_${ARCHITECTURE}.deb`)
    const { registry, authority } = await startPrivateRegistry(node, HOST)
    const [before, namesBefore] = [await contents(node, ...TRUST_FOLDERS), await names()]

    t.match(await dpkg('--install', packageOf('0.1.0')), { code: 0 })
    t.match(await names(), '/usr/bin/registry-trust')
    t.equal(await node.unitProperty('ActiveState', UNIT), 'inactive', 'installing starts nothing')
    t.equal(await contents(node, ...TRUST_FOLDERS), before, 'and changes nothing')
    await node.writeFile('/etc/registry-trust/ca.pem', authority.pem)
    const trust = { registries: [{ host: HOST, ca: 'ca.pem' }] }
    await node.writeFile('/etc/registry-trust/trust.yaml', JSON.stringify(trust))
    await node.run(['systemctl', 'enable', '--now', UNIT])
    const status = async () => (await node.exec(['registry-trust', 'status', '--json'])).stdout
    await until(async () => (await status()).includes('"converged"'), 40_000)
    t.match(await node.pull(registry.reference()), { ok: true })

    const pid = await node.unitProperty('MainPID', UNIT)
    t.match(await dpkg('--install', packageOf('0.1.1')), { code: 0 })
    t.not(await node.unitProperty('MainPID', UNIT), pid, 'an upgrade goes on with the new program')
    await until(async () => (await status()).includes('"converged"'), 40_000)

    const removed = await dpkg('--remove', 'registry-trust')
    t.match(removed, { code: 0, stderr: /what it wrote stays on this node/ })
    t.match(await node.pull(registry.reference()), { ok: true }, 'removing takes nothing off')
    t.match(await dpkg('--install', packageOf('0.1.1')), { code: 0 })
    t.match(await node.exec(['registry-trust', 'uninstall'], { timeoutMs: 60_000 }), { code: 0 })
    t.equal(await contents(node, ...TRUST_FOLDERS), before, 'the node is as before')
    await node.run(['rm', '/etc/registry-trust/ca.pem', '/etc/registry-trust/trust.yaml'])
    t.match(await dpkg('--purge', 'registry-trust'), { code: 0 })
    t.equal(await names(), namesBefore, 'nothing with its name is left')
    t.match(await dpkg('--audit'), { code: 0, stdout: '' })
  })
