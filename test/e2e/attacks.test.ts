// Whoever may write below one of the folders that the agent writes (another tool, a careless administrator, an attacker
// without root's other rights) plants links there: the agent refuses, says where and why, and nothing is written where
// the link leads.
import t from 'tap'
import {
  AgentOnNode,
  BY_SIGNAL,
  contents,
  newestToTest,
  startPrivateRegistry,
  TRUST_FOLDERS,
} from '../fixtures/e2e/agent-on-node.ts'
import { nodeWithRegistry } from '../fixtures/e2e/registry-node.ts'
import type { FixtureNode } from '../fixtures/node/fixture-node.ts'
import { CERTS_D, startSandboxNode } from '../fixtures/node/sandbox-node.ts'
import { partOf } from '../fixtures/turn.ts'

const HOST = 'harbor.example.net'
const ELSEWHERE = '/opt/elsewhere'
const ANCHORS = '/usr/local/share/ca-certificates'
const STATE = '/var/lib/registry-trust'

t.setTimeout(480_000)

type Attack = {
  readonly name: string
  readonly plant: string
  /** The agent has been here, and a second CA is to be added. */
  readonly isOnUpdate?: true
  readonly says: RegExp
}

/** `E` is the folder where nothing may be written. */
const ATTACKS: readonly Attack[] = [
  {
    name: 'the host directory is a link',
    plant: `mkdir -p ${CERTS_D} && ln -s $E ${CERTS_D}/${HOST}`,
    says: /HOSTS_FILE_FOREIGN .*harbor\.example\.net: there is a link in place of the folder/,
  },
  {
    name: 'the host directory is a link to nothing',
    plant: `mkdir -p ${CERTS_D} && ln -s $E/new ${CERTS_D}/${HOST}`,
    says: /HOSTS_FILE_FOREIGN .*harbor\.example\.net: there is a link in place of the folder/,
  },
  {
    name: 'hosts.toml is a link',
    plant: `mkdir -p ${CERTS_D}/${HOST} && ln -s $E/file ${CERTS_D}/${HOST}/hosts.toml`,
    says: /HOSTS_FILE_FOREIGN .*hosts\.toml: there is a link in its place/,
  },
  {
    name: 'the CA of the host becomes a link',
    isOnUpdate: true,
    plant: `ln -sf $E/file ${CERTS_D}/${HOST}/ca.crt`,
    says: /update +\S*\/ca\.crt .*there is a link in its place/,
  },
  {
    name: 'the host directory becomes a link',
    isOnUpdate: true,
    plant: `mv ${CERTS_D}/${HOST} /opt/moved && ln -s $E ${CERTS_D}/${HOST}`,
    says: /HOSTS_FILE_FOREIGN .*harbor\.example\.net: there is a link in place of the folder/,
  },
  {
    name: 'certs.d becomes a link',
    isOnUpdate: true,
    plant: `mv ${CERTS_D} /opt/moved && ln -s $E ${CERTS_D}`,
    says: /FILE_OUTSIDE_TARGET .*certs\.d is a link to \/opt\/elsewhere/,
  },
  {
    name: 'the folder for temporary files in certs.d is a link',
    plant: `mkdir -p ${CERTS_D} && ln -s $E ${CERTS_D}/.registry-trust.tmp`,
    says: /FILE_OUTSIDE_TARGET .*certs\.d\/\.registry-trust\.tmp is not a folder/,
  },
  {
    name: 'the folder for temporary files in the system store is a link',
    plant: 'ln -s $E /etc/ssl/certs/.registry-trust.tmp',
    says: /FILE_OUTSIDE_TARGET .*ssl\/certs\/\.registry-trust\.tmp is not a folder/,
  },
  {
    name: 'the folder for temporary files beside config.toml is a link',
    plant: 'ln -s $E /etc/containerd/.registry-trust.tmp',
    says: /FILE_OUTSIDE_TARGET .*containerd\/\.registry-trust\.tmp is not a folder/,
  },
  {
    name: 'the folder for temporary files in the state folder is a link',
    plant: `mkdir -p ${STATE} && ln -s $E ${STATE}/.registry-trust.tmp`,
    says: /registry-trust\/\.registry-trust\.tmp is not a folder/,
  },
  {
    name: 'NAME.pem of the system store is a link',
    plant: 'ln -s $E/file /etc/ssl/certs/ca.pem',
    says: /FILE_FOREIGN .*ssl\/certs\/ca\.pem exists and is not the agent's/,
  },
  {
    name: 'the source of the anchor is a link',
    plant: `ln -s $E/file ${ANCHORS}/ca.crt`,
    says: /FILE_FOREIGN .*ca-certificates\/ca\.crt exists and is not the agent's/,
  },
  ...['docker', 'containers'].flatMap((tool) => [
    {
      name: `the host directory of ${tool} is a link`,
      plant: `mkdir -p /etc/${tool}/certs.d && ln -s $E /etc/${tool}/certs.d/${HOST}`,
      says: new RegExp(`/etc/${tool}/certs\\.d/harbor\\.example\\.net is a link in place of a folder`),
    },
    {
      name: `certs.d of ${tool} is a link`,
      plant: `mkdir -p /etc/${tool} && ln -s $E /etc/${tool}/certs.d`,
      says: new RegExp(`FILE_OUTSIDE_TARGET .*/etc/${tool}/certs\\.d is a link to /opt/elsewhere`),
    },
  ]),
  {
    name: 'config.toml is a link',
    plant: 'mv /etc/containerd/config.toml $E/config.toml && ln -s $E/config.toml /etc/containerd/config.toml',
    says: /CONFIG_EDIT_UNSUPPORTED .*config\.toml is a link/,
  },
  {
    name: 'the state folder is a link',
    plant: `ln -s $E ${STATE}`,
    says: /\/var\/lib\/registry-trust is a symbolic link/,
  },
  {
    name: 'state.json is a link',
    plant: `mkdir -p ${STATE} && ln -s $E/file ${STATE}/state.json`,
    says: /state\.json\.damaged-\S+ was damaged and is set aside/,
  },
  {
    name: 'the journal is a link',
    plant: `mkdir -p ${STATE} && ln -s $E ${STATE}/journal`,
    says: /journal\.damaged-\S+ was damaged and is set aside/,
  },
  {
    name: 'the backups are a link',
    plant: `mkdir -p ${STATE} && ln -s $E ${STATE}/backup`,
    says: /backup\.damaged-\S+ was damaged and is set aside/,
  },
  {
    name: 'the audit log is a link',
    plant: `mkdir -p ${STATE} && ln -s $E/file ${STATE}/audit.jsonl`,
    says: /audit\.jsonl\.damaged-\S+ was damaged and is set aside/,
  },
  {
    name: 'the lock is a link',
    plant: `mkdir -p ${STATE} && ln -s $E/file ${STATE}/lock`,
    says: /lock\.damaged-\S+ was damaged and is set aside/,
  },
  {
    name: 'the name of who holds the lock is a link',
    plant: `mkdir -p ${STATE} && ln -s $E/file ${STATE}/lock-holder.json`,
    says: /applied/,
  },
]

const generation = newestToTest()

t.test('links planted in the folders of the agent', async (t) => {
  const node = await startSandboxNode({ generation })
  t.teardown(() => node.dispose())
  const { authority } = await startPrivateRegistry(node, HOST)
  const other = await startPrivateRegistry(node, 'other.example.net')
  const agent = await AgentOnNode.on(node)
  await node.run(['sh', '-c', `mkdir -p ${ELSEWHERE} && echo precious >${ELSEWHERE}/file && mkdir /opt/saved`])
  for (const folder of TRUST_FOLDERS)
    await node.run(['sh', '-c', `mkdir -p /opt/saved${folder} && cp -a ${folder}/. /opt/saved${folder}/`])
  for (const attack of partOf(ATTACKS, 4))
    await t.test(attack.name, async (t) => {
      await restore(node)
      await agent.configure({ registries: [{ host: HOST, ca: 'ca.pem' }], ...BY_SIGNAL }, { 'ca.pem': authority.pem })
      if (attack.isOnUpdate) {
        t.equal((await agent.apply()).code, 0)
        await agent.configure(
          { registries: [{ host: HOST, ca: 'ca.pem' }], ...BY_SIGNAL },
          { 'ca.pem': `${authority.pem}${other.authority.pem}` },
        )
      }
      await node.run(['sh', '-c', `E=${ELSEWHERE}; ${attack.plant}`])
      const before = await contents(node, ELSEWHERE)
      const { stdout, stderr } = await agent.command('apply')
      t.equal(await contents(node, ELSEWHERE), before, 'nothing was written where the link leads')
      t.match(stdout + stderr, attack.says)
    })
})

t.test('names that climb out of a folder', async (t) => {
  const { node, authority, agent } = await nodeWithRegistry(t, HOST, { generation })
  const look = async () => [await contents(node, ...TRUST_FOLDERS), await node.run(['ls', '/opt', '/'])].join('\n')
  const before = await look()
  const named = (host: string) => ({ registries: [{ host, ca: 'ca.pem' }] })
  const fileName = (name: string) => ({ ...named(HOST), targets: { systemTrust: { fileName: name } } })
  const cases: readonly (readonly [string, object])[] = [
    ['a host that is its parent', named('..')],
    ['a host that climbs', named('../../../opt/x')],
    ['a host that climbs behind a good name', named(`${HOST}/../../../opt`)],
    ['a host with an encoded slash', named('..%2fopt')],
    ['a host with a null', named('a\u0000b')],
    ['a host with a line end', named('a.test\n[host]')],
    [
      'an anchor that climbs',
      { anchors: { '../../opt/x': { file: 'ca.pem' } }, registries: [{ host: HOST, anchors: ['../../opt/x'] }] },
    ],
    ['a file name that climbs', fileName('../../../opt/{name}.pem')],
    ['a file name from the root', fileName('/opt/{name}.pem')],
    ['a file name without the anchor', fileName('ca-certificates.crt')],
  ]
  for (const [name, trust] of partOf(cases, 2)) {
    await agent.configure({ ...trust, ...BY_SIGNAL }, { 'ca.pem': authority.pem })
    const { code, stdout, stderr } = await agent.command('apply')
    t.equal(code, 1, `${name}: ${stdout}${stderr}`)
    t.match(stdout, /CONFIG_INVALID/, name)
    t.equal(await look(), before, `${name}: nothing was written`)
  }
})

/** The node as it was at first, without an agent. */
async function restore(node: FixtureNode): Promise<void> {
  const script = [
    'set -e',
    `rm -rf ${STATE} /opt/moved /etc/docker /etc/containers ${ELSEWHERE} && mkdir ${ELSEWHERE} && echo precious >${ELSEWHERE}/file`,
    ...TRUST_FOLDERS.map((folder) => `find ${folder} -mindepth 1 -delete; cp -a /opt/saved${folder}/. ${folder}/`),
  ]
  await node.run(['sh', '-c', script.join('\n')])
  await node.stopContainerd()
  await node.startContainerd()
}
