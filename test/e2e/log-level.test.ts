// The level of the daemon's log changes while it runs, by trust.yaml and by a request, and nothing happens to the node
// because of it; a log that cannot be written costs lines and nothing else.
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { BY_SIGNAL, contents, newestToTest, TRUST_FOLDERS } from '../fixtures/e2e/agent-on-node.ts'
import { nodeWithRegistry } from '../fixtures/e2e/registry-node.ts'

const HOST = 'harbor.example.net'
/** Beside them lies the lock, which every look at the node takes. */
const STATE = ['state.json', 'audit.jsonl', 'backup'].map((name) => `/var/lib/registry-trust/${name}`)
/** There while a run is under way. */
const LOCK_HOLDER = '/var/lib/registry-trust/lock-holder.json'
const TOKEN = 'the-token'
const generation = newestToTest()

type Line = { readonly msg: string; readonly level: string; readonly [name: string]: unknown }

t.test('the level of the log', { timeout: 240_000 }, async (t) => {
  const { node, authority, agent } = await nodeWithRegistry(t, HOST, { generation })
  const configure = (more: object = {}) =>
    agent.configure(
      { registries: [{ host: HOST, ca: 'ca.pem' }], ...BY_SIGNAL, ...more },
      { 'ca.pem': authority.pem, token: TOKEN },
    )
  await configure()

  t.test('follows trust.yaml and requests without a transaction', async (t) => {
    const daemon = await agent.startDaemon('--token-file', `${agent.config}/token`)
    const before = await daemon.until(({ state }) => state === 'converged')
    const lines = () =>
      daemon.service.stderr
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Line)
    const changes = () => lines().filter(({ msg }) => msg === 'log-level-changed')
    const post = (query: string, token = TOKEN) =>
      node.run([
        'curl',
        '--silent',
        '-X',
        'POST',
        '-H',
        `Authorization: Bearer ${token}`,
        `http://127.0.0.1:9461/loglevel${query}`,
      ])
    const files = await contents(node, ...TRUST_FOLDERS, ...STATE)
    t.notOk(lines().some(({ level }) => level === 'debug'))

    await configure({ log: { level: 'debug' } })
    await daemon.service.waitFor(/"msg":"log-level-changed"/)
    t.match(changes(), [{ from: 'info', to: 'debug', because: 'configuration' }])
    await daemon.status()
    await daemon.service.waitFor(/"level":"debug".*"msg":"http-request"/)

    t.match(JSON.parse(await post('?level=error', 'wrong')), { code: 'UNAUTHENTICATED' })
    t.match(JSON.parse(await post('?level=loud')), { code: 'REQUEST_INVALID' })
    t.match(JSON.parse(await post('?level=warn&for=1s')), { level: 'warn', until: /^2/ })
    await configure({ log: { level: 'loud' } })
    await daemon.until(({ problems }) => problems.length > 0)
    // The request has run out by then, or does so now; the broken file counts for nothing.
    const deadline = Date.now() + 20_000
    while (changes().length < 3 && Date.now() < deadline) await sleep(20)
    t.match(changes().slice(1), [
      { from: 'debug', to: 'warn', because: 'request' },
      { from: 'warn', to: 'debug', because: 'configuration' },
    ])

    await configure()
    await daemon.service.waitFor(/"to":"info"/)
    t.match(changes().at(-1), { from: 'debug', to: 'info', because: 'command line' })
    const after = await daemon.until(({ state, problems }) => state === 'converged' && problems.length === 0)
    t.equal(after.generation, before.generation)
    t.same(after.transactions, before.transactions)
    t.equal(lines().filter(({ msg }) => msg === 'applied').length, 1, 'the node was changed once, at the start')
    t.equal(await contents(node, ...TRUST_FOLDERS, ...STATE), files, 'and nothing was written since')
    t.equal(await daemon.service.stop('SIGINT'), 0, 'SIGINT ends it as SIGTERM does')
  })

  t.test(
    'a reader of the log that goes away, a closed standard output, a full disk: the daemon works on',
    async (t) => {
      const argv = agent.argv('agent', '--listen', '127.0.0.1:9461', '--log-level', 'debug')
      const ways = {
        'the reader is gone': 'sh -c "$0" agent "$@" 2>&1 >&- | head -n 1 >/dev/null',
        'closed and full': 'sh -c "$0" agent "$@" >&- 2>/dev/full',
      }
      for (const [way, script] of Object.entries(ways)) {
        const pidFile = `${agent.config}/pid`
        const tellsPid = `echo $$ >${pidFile}; exec "$@"`
        const service = await node.start(['sh', '-c', script, tellsPid, ...argv])
        const daemon = agent.daemon(service)
        await daemon.until(({ state }) => state === 'converged')
        const ca = `/etc/containerd/certs.d/${HOST}/ca.crt`
        await node.run(['rm', ca])
        const deadline = Date.now() + 20_000
        while ((await node.exec(['test', '-e', ca])).code !== 0 && Date.now() < deadline) await sleep(20)
        t.equal((await node.exec(['test', '-e', ca])).code, 0, `${way}: damage is healed`)
        t.equal((await daemon.get('/livez')).status, 200)
        await node.run(['sh', '-c', `kill -TERM $(cat ${pidFile})`])
        await service.exited
      }
    },
  )

  t.test('apply does its work into a pipe that nobody reads, and when the terminal goes away', async (t) => {
    const folder = `/etc/containerd/certs.d/${HOST}`
    const isThere = async () => (await node.exec(['test', '-e', `${folder}/hosts.toml`])).code === 0
    await node.run(['rm', '-r', folder])
    const { stderr } = await node.exec(['sh', '-c', '"$@" 2>&1 | true', 'sh', ...agent.argv('apply')], {
      timeoutMs: 60_000,
    })
    t.equal(stderr, '')
    t.ok(await isThere())

    await node.run(['rm', '-r', folder])
    const apply = await node.start(agent.argv('apply'))
    const deadline = Date.now() + 30_000
    while ((await node.exec(['test', '-e', LOCK_HOLDER])).code !== 0 && Date.now() < deadline) await sleep(5)
    await apply.kill('SIGHUP')
    t.equal(await apply.exited, 0)
    t.ok(await isThere())
  })

  t.test('apply tells a terminal what it is doing, in one line that is gone before the outcome', async (t) => {
    await node.run(['rm', '-r', `/etc/containerd/certs.d/${HOST}`])
    const words = agent.argv('apply').map((word) => `'${word.replaceAll("'", String.raw`'\\''`)}'`)
    const inTerminal = ['script', '--quiet', '--return', '--command', `stty cols 60; ${words.join(' ')}`, '/dev/null']
    const { code, stdout } = await node.exec(inTerminal, { timeoutMs: 60_000 })
    t.equal(code, 0, stdout)
    const [, ...shown] = stdout.split('\r\u001b[2K')
    const outcome = shown.pop() ?? ''
    t.ok(
      shown.some((line) => line.startsWith(`writing /etc/containerd/certs.d/${HOST}`)),
      JSON.stringify(shown),
    )
    for (const line of shown) t.ok(line.length < 60, `no line wraps: ${line}`)
    t.match(outcome, /trusted[\s\S]*applied/)
    t.notMatch(outcome, '…', 'nothing of it stays')
  })
})
