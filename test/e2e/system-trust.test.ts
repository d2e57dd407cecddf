// The node's own trust store after `apply`: the distribution's own tool finds nothing to change, the programs of the
// node see the anchor, and a removal leaves the folder as that tool had made it.
import { basename, join } from 'node:path'
import t from 'tap'
import { AgentOnNode, BY_SIGNAL, contents, newestToTest, startPrivateRegistry } from '../fixtures/e2e/agent-on-node.ts'
import { nodeWithRegistry } from '../fixtures/e2e/registry-node.ts'
import { createAuthority } from '../fixtures/node/certificates.ts'
import { type SandboxNode, startSandboxNode } from '../fixtures/node/sandbox-node.ts'
import { partOf } from '../fixtures/turn.ts'

const HOST = 'harbor.example.net'
const LOCAL = '/usr/local/share/ca-certificates'
const STORE = ['/etc/ssl/certs', LOCAL] as const
const generation = newestToTest()

t.setTimeout(480_000)

/**
 * One of these in a run (see partOf). How `sort` of the administrator's shell orders names: update-ca-certificates takes over whatever locale it is started
 * with.
 */
const SORTS = [
  { name: 'in the C locale', flags: '' },
  {
    name: 'in a locale such as en_US, where case and punctuation count last',
    flags: '--ignore-case --dictionary-order',
  },
] as const

/**
 * Anchors of others around ours (`ca.crt`): before and after it, in another order for each sort, and in a folder below.
 */
const FOREIGN = ['Alpha.crt', 'CARoot.crt', 'c-a.crt', 'cb.crt', 'Zulu.crt', 'sub/beta.crt', 'zeta.crt']

for (const sort of partOf(SORTS, 2))
  t.test(`update-ca-certificates finds nothing to change, ${sort.name}`, async (t) => {
    const node = await startSandboxNode({ generation })
    t.teardown(() => node.dispose())
    const update = await updater(node, sort.flags)
    await addForeignAnchors(node)
    await update()
    const before = await contents(node, ...STORE)
    const { authority } = await startPrivateRegistry(node, HOST)
    const agent = await AgentOnNode.on(node)
    await agent.configure({ registries: [{ host: HOST, ca: 'ca.pem' }], ...BY_SIGNAL }, { 'ca.pem': authority.pem })
    t.equal((await agent.apply()).code, 0)
    const applied = await contents(node, ...STORE)
    t.not(applied, before)

    t.match(await update(), /^0 added, 0 removed/m)
    t.equal(await contents(node, ...STORE), applied, 'its run changed nothing')
    await update('--fresh')
    t.equal(await contents(node, ...STORE), applied, 'nor did one that makes every link anew')
    t.match((await agent.apply()).report, { outcome: 'unchanged' })

    await agent.configure({ registries: [], ...BY_SIGNAL })
    t.equal((await agent.apply()).code, 0)
    t.equal(await contents(node, ...STORE), before, 'a removal leaves what was there before')
    await node.run(['openssl', 'rehash', '/etc/ssl/certs'])
    t.equal(await contents(node, ...STORE), before, 'openssl rehash finds every link right')
    t.match(await update(), /^0 added, 0 removed/m)
    t.equal(await contents(node, ...STORE), before)
  })

t.test('the programs of the node see the anchor, and do not when it is gone', async (t) => {
  const { node, authority, agent } = await nodeWithRegistry(t, HOST, { generation })
  const hasGit = (await node.exec(['sh', '-c', 'command -v git'])).code === 0
  const rootFile = authority.certFile
  const programs: readonly {
    readonly name: string
    readonly argv: readonly string[]
    readonly trusts: RegExp
    readonly doubts: RegExp
  }[] = [
    {
      name: 'openssl by folder',
      argv: ['openssl', 'verify', '-no-CAfile', '-no-CAstore', '-CApath', '/etc/ssl/certs', rootFile],
      trusts: /: OK/,
      doubts: /verification failed/,
    },
    {
      name: 'openssl by bundle',
      argv: [
        'openssl',
        'verify',
        '-no-CApath',
        '-no-CAstore',
        '-CAfile',
        '/etc/ssl/certs/ca-certificates.crt',
        rootFile,
      ],
      trusts: /: OK/,
      doubts: /verification failed/,
    },
    {
      name: 'curl',
      argv: ['curl', '--silent', '--show-error', `https://${HOST}/v2/`],
      trusts: /^\{\}$/,
      doubts: /certificate/,
    },
    {
      name: 'Node.js with the system store',
      argv: [
        process.execPath,
        '--use-openssl-ca',
        '--eval',
        `fetch('https://${HOST}/v2/').then((answer) => console.log(answer.status), (error) => console.log(error.cause.code))`,
      ],
      trusts: /^200$/,
      doubts: /UNABLE_TO_VERIFY|SELF_SIGNED/,
    },
    ...(hasGit
      ? [
          {
            name: 'git',
            argv: ['git', 'ls-remote', `https://${HOST}/repository.git`],
            trusts: /repository.* not found/,
            doubts: /certificate verification failed/,
          },
        ]
      : []),
  ]
  const say = async (which: 'trusts' | 'doubts', when: string) => {
    for (const program of programs) {
      const { stdout, stderr } = await node.exec(program.argv, { env: { SSL_CERT_DIR: '/etc/ssl/certs' } })
      t.match((stdout + stderr).trim(), program[which], `${program.name} ${which} ${when}`)
    }
  }
  await say('doubts', 'before')
  await agent.configure({ registries: [{ host: HOST, ca: 'ca.pem' }], ...BY_SIGNAL }, { 'ca.pem': authority.pem })
  t.equal((await agent.apply()).code, 0)
  await say('trusts', 'once applied')
  await agent.configure({ registries: [], ...BY_SIGNAL })
  t.equal((await agent.apply()).code, 0)
  await say('doubts', 'once removed')
})

async function addForeignAnchors(node: SandboxNode): Promise<void> {
  for (const name of FOREIGN) {
    const { pem } = await createAuthority(join(node.scratch, 'pki-foreign'), `Foreign ${basename(name, '.crt')}`)
    await node.writeFile(`${LOCAL}/${name}`, pem)
  }
}

/** The real tool; its `sort` is the real one with flags that stand for the locale, which not every machine has. */
async function updater(node: SandboxNode, flags: string) {
  const folder = join(node.scratch, 'bin')
  await node.writeFile(`${folder}/sort`, `#!/bin/sh\nexec /usr/bin/sort ${flags} "$@"\n`, 0o755)
  const env = { PATH: `${folder}:/usr/sbin:/usr/bin:/sbin:/bin` }
  return async (...argv: readonly string[]) =>
    await node.run(['update-ca-certificates', ...argv], { env, timeoutMs: 60_000 })
}
