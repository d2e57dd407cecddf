// config.toml as people write it: every byte outside the edit stays, and the real containerd loads the result.
import t from 'tap'
import { BY_SIGNAL, sampledGenerations } from '../fixtures/e2e/agent-on-node.ts'
import { nodeWithRegistry } from '../fixtures/e2e/registry-node.ts'
import { partOf } from '../fixtures/turn.ts'

const HOST = 'harbor.example.net'
const CONFIG_PATH = '/etc/containerd/certs.d'

type Case = {
  readonly name: string
  readonly before: (version: number, plugin: string) => string
  readonly after: (text: string) => string
}

const CASES: readonly Case[] = [
  {
    name: 'comments, odd spacing, CRLF',
    before: (version, plugin) =>
      `# our node\r\nversion=${version}   # do not touch\r\n\r\n[plugins]\r\n\t[plugins."${plugin}"]   # CRI\r\n\t  [plugins."${plugin}".registry]\r\n\t\tconfig_path   =  ""   # empty\r\n# the end`,
    after: (text) => text.replace('config_path   =  ""', `config_path   =  "${CONFIG_PATH}"`),
  },
  {
    name: 'an inline table',
    before: (version, plugin) =>
      `version = ${version}\n[plugins]\n"${plugin}" = { registry = { config_path = "" } } # inline\n`,
    after: (text) => text.replace('config_path = ""', `config_path = "${CONFIG_PATH}"`),
  },
  {
    name: 'dotted keys',
    before: (version, plugin) =>
      `version = ${version}\nplugins."${plugin}".registry.config_path = '' # dotted\noom_score = 0\n`,
    after: (text) => text.replace("config_path = ''", `config_path = "${CONFIG_PATH}"`),
  },
]

for (const generation of sampledGenerations())
  for (const { name, before, after } of partOf(CASES, 2))
    t.test(`containerd ${generation.version}: ${name}`, async (t) => {
      const config = before(generation.expected.configVersion, generation.expected.registryPlugin)
      const { node, registry, authority, agent } = await nodeWithRegistry(t, HOST, { generation, config })
      await agent.configure({ registries: [{ host: HOST, ca: 'ca.pem' }], ...BY_SIGNAL }, { 'ca.pem': authority.pem })
      const applied = await agent.apply()
      t.equal(applied.code, 0, JSON.stringify(applied.report.problems))
      const written = (await node.readFile('/etc/containerd/config.toml')).replaceAll(
        `'${CONFIG_PATH}'`,
        `"${CONFIG_PATH}"`,
      )
      t.equal(written, after(config))
      t.match(await node.pull(registry.reference()), { ok: true })
    })
