// A registry whose name the node's resolver does not know: the real containerd pulls from it once `addresses` stand in the
// hosts file, and not before. Others may rewrite the file, mount it, or keep it from being written.
import t from 'tap'
import { AgentOnNode, BY_SIGNAL, sampledGenerations, startPrivateRegistry } from '../fixtures/e2e/agent-on-node.ts'
import { defaultConfig, startSandboxNode, withConfigPath } from '../fixtures/node/sandbox-node.ts'

const HOST = 'registry.tools.svc'
const HOSTS_FILE = '/etc/hosts'
/** No line end at the end, a comment in latin1, and another registry's name. */
const THEIRS = '127.0.0.1 localhost\n10.1.1.1 other.net # caf\\351\n::1 localhost'

for (const generation of sampledGenerations())
  t.test(generation.label, { timeout: 180_000 }, async (t) => {
    const node = await startSandboxNode({ generation, config: withConfigPath(defaultConfig(generation)) })
    t.teardown(() => node.dispose())
    await node.run(['sh', '-c', `printf '${THEIRS}' >${HOSTS_FILE} && chmod 640 ${HOSTS_FILE}`])
    const seen = () => node.run(['sh', '-c', `stat -c '%i %a %U' ${HOSTS_FILE}; od -An -c ${HOSTS_FILE}`])
    const before = await seen()
    const { registry, authority } = await startPrivateRegistry(node, HOST)
    const [address = ''] = [registry.address]
    await node.setHost(HOST, undefined)
    const agent = await AgentOnNode.on(node)
    const configure = (addresses?: readonly string[]) =>
      agent.configure(
        { registries: [{ host: HOST, ca: 'ca.pem', ...(addresses && { addresses }) }], ...BY_SIGNAL },
        { 'ca.pem': authority.pem },
      )
    const line = `${address} ${HOST} # registry-trust-agent\n`
    const linesOf = async () => (await node.readFile(HOSTS_FILE)).split('\n').filter((one) => one.includes(HOST))

    await t.test('without addresses the finding names them as a way out', async (t) => {
      await configure()
      const { code, report } = await agent.apply()
      t.not(code, 0)
      t.match(report.findings, [{ finding: { code: 'cluster-dns', remedy: /`addresses`/ } }])
      t.match(await node.pull(registry.reference()), { ok: false })
      t.equal(await seen(), before)
    })

    await t.test('with them containerd pulls; every other byte, inode and mode stay', async (t) => {
      await configure([address])
      const { plan } = await agent.plan()
      t.match(plan.changes, [{ target: 'hosts-file', action: 'edit', path: HOSTS_FILE }])
      t.equal(await seen(), before, 'plan writes nothing')
      const { code, report } = await agent.apply()
      t.equal(code, 0, JSON.stringify(report))
      t.match(report.findings, [{ host: HOST, finding: { code: 'trusted' } }])
      t.match(await node.pull(registry.reference()), { ok: true })
      t.match((await node.readFile(HOSTS_FILE)).split(line), { length: 2 })
      t.equal((await seen()).split('\n')[0], before.split('\n')[0])
      t.match((await agent.apply()).report, { outcome: 'unchanged' })
    })

    await t.test('a file written anew, in place or by another one, gets its line back', async (t) => {
      const daemon = await agent.startDaemon()
      await daemon.until(({ state }) => state === 'converged')
      for (const write of [
        `cat /run/new >${HOSTS_FILE}`,
        `{ sleep 0.4; cat /run/new; } >${HOSTS_FILE}`,
        `cp -p ${HOSTS_FILE} /etc/new; cat /run/new >/etc/new; mv /etc/new ${HOSTS_FILE}`,
      ]) {
        const script = `printf '127.0.0.1 localhost\\n10.7.7.7 cloud-init\\n' >/run/new; ${write}
for i in $(seq 100); do grep -q '${HOST}' ${HOSTS_FILE} && exit 0; sleep 0.1; done; exit 1`
        t.equal((await node.exec(['sh', '-c', script])).code, 0, write)
        t.equal(await node.readFile(HOSTS_FILE), `127.0.0.1 localhost\n10.7.7.7 cloud-init\n${line}`)
      }
      await daemon.until(({ state }) => state === 'converged')
      await daemon.service.stop()
    })

    await t.test('where the file is mounted alone it is written all the same; read-only is told', async (t) => {
      await node.run(['sh', '-c', `cp -p ${HOSTS_FILE} /run/hosts && mount --bind /run/hosts ${HOSTS_FILE}`])
      await configure([address, '192.0.2.99'])
      t.equal((await agent.apply()).code, 0)
      t.equal((await linesOf()).length, 2)
      await node.run(['mount', '-o', 'remount,bind,ro', HOSTS_FILE])
      await configure([address])
      const { report } = await agent.apply()
      t.match(report.problems, [
        { code: 'TARGET_READ_ONLY', message: `${HOSTS_FILE} cannot be written; no address was written for ${HOST}` },
      ])
      t.equal((await linesOf()).length, 2)
      await node.run(['umount', HOSTS_FILE])
    })

    await t.test('a line of others with another address is told, and stays', async (t) => {
      await node.run(['sh', '-c', `printf '127.0.0.1 localhost\\n192.0.2.98 ${HOST}\\n' >${HOSTS_FILE}`])
      // Whether it is proved depends on which lines containerd has read in the last five seconds.
      const { report } = await agent.apply()
      t.match(report.problems, [
        { code: 'HOST_ADDRESS_CONFLICT', message: new RegExp(`^${HOSTS_FILE}:2 gives ${HOST} the address 192`) },
      ])
      t.same(await linesOf(), [`192.0.2.98 ${HOST}`])
    })

    await t.test('uninstall gives the file back byte for byte', async (t) => {
      await node.run(['sh', '-c', `printf '${THEIRS}' >${HOSTS_FILE} && chmod 640 ${HOSTS_FILE}`])
      const clean = await seen()
      t.equal((await agent.apply()).code, 0)
      t.match(await node.pull(registry.reference()), { ok: true })
      t.equal((await agent.command('uninstall')).code, 0)
      t.equal(await seen(), clean)
    })
  })
