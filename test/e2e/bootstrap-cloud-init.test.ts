// The output of `bootstrap --for cloud-init`, carried out by cloud-init itself on a systemd node: it trusts before the
// agent is there, which finds its work done, takes it for its own, and takes it away again.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { AgentOnNode, contents, startPrivateRegistry } from '../fixtures/e2e/agent-on-node.ts'
import { CLOUD_INIT_FOLDER, CloudInit, cloudInitUnavailable } from '../fixtures/node/cloud-init.ts'
import { newestSystemdGeneration } from '../fixtures/node/node-tests.ts'
import { CERTS_D, defaultConfig, withConfigPath } from '../fixtures/node/sandbox-node.ts'
import { startSystemdNode } from '../fixtures/node/systemd-node.ts'

const HOST = 'harbor.example.net'
const FOLDERS = ['/etc/ssl/certs', '/usr/local/share/ca-certificates']
const REPOSITORY = join(import.meta.dirname, '../..')

const unavailable = cloudInitUnavailable()
if (unavailable !== undefined) {
  process.stderr.write(`# NOT TESTED: cloud-init itself: ${unavailable}\n`)
  t.test('cloud-init itself', { skip: unavailable }, async () => undefined)
} else
  newestSystemdGeneration(t, 'cloud-init itself: trusts before the agent, adopted, and gone', async (t, generation) => {
    const folder = mkdtempSync(join(tmpdir(), 'rt-config-'))
    t.teardown(() => rmSync(folder, { recursive: true, force: true }))
    const config = withConfigPath(defaultConfig(generation))
    const binds = [REPOSITORY, folder, CLOUD_INIT_FOLDER]
    const node = await startSystemdNode({ generation, config, binds })
    t.teardown(() => node.dispose())
    const { registry, authority } = await startPrivateRegistry(node, HOST)
    const agent = await AgentOnNode.on(node, folder)
    await node.run(['update-ca-certificates'])
    const before = await contents(node, ...FOLDERS)
    await agent.configure({ registries: [{ host: HOST, ca: 'ca.pem' }] }, { 'ca.pem': authority.pem })
    const { code, stdout, stderr } = await agent.command('bootstrap', '--for', 'cloud-init')
    t.equal(code, 0, stderr)

    const cloudInit = await CloudInit.seeded(node, stdout)
    const schema = await cloudInit.schema()
    t.equal(schema.code, 0, `its own schema takes it: ${schema.stdout}${schema.stderr}`)
    t.match(await node.pull(registry.reference()), { ok: false, message: /x509/ }, 'the seed alone changes nothing')
    await cloudInit.module('cc_write_files')
    t.match(await node.pull(registry.reference()), { ok: true }, 'pulls once its files are written')
    // runcmd writes a script in the config stage, which the final stage runs.
    await cloudInit.module('cc_runcmd')
    await cloudInit.module('cc_scripts_user')
    await node.writeFile('/tmp/ca.pem', authority.pem)
    const bundle = ['-no-CApath', '-no-CAstore', '-CAfile', '/etc/ssl/certs/ca-certificates.crt']
    t.equal((await node.exec(['openssl', 'verify', ...bundle, '/tmp/ca.pem'])).code, 0, 'the system store has it too')

    const pid = await node.containerdPid()
    const { report } = await agent.apply()
    t.match(report, { outcome: 'unchanged', problems: [{ code: 'OWNERSHIP_ADOPTED' }] })
    t.same(report.changes, [], 'nothing is left to do')
    t.equal(await node.containerdPid(), pid, 'and nothing is restarted')
    t.equal((await agent.command('uninstall')).code, 0)
    t.equal(await contents(node, ...FOLDERS), before, 'what was bootstrapped goes with the agent')
    t.not((await node.exec(['test', '-e', CERTS_D])).code, 0, 'the host directories too')
    t.match(await node.pull(registry.reference()), { ok: false, message: /x509/ })
  })
