// What an edited config_path and a merged hosts.toml mean to containerd itself.
import t from 'tap'
import { planConfigPath } from '../../../agent/containerd/edit/config-path.ts'
import { mergeHostsFile } from '../../../agent/containerd/hosts/merge-foreign.ts'
import { createAuthority } from '../../fixtures/node/certificates.ts'
import { CONFIG, image, lab, load, outcomes } from '../../fixtures/node/containerd-lab.ts'
import { eachGeneration } from '../../fixtures/node/node-tests.ts'
import { CERTS_D } from '../../fixtures/node/sandbox-node.ts'

eachGeneration(
  t,
  'a list of folders takes effect where it did not, once it is cut down to the one in use',
  async (t, generation) => {
    const { node, head, registry } = await lab(t, generation, ['skip.test'])
    const list = `/etc/docker/certs.d:${CERTS_D}`
    const config = `${head}[${registry}]\n  config_path = "${list}"\n`
    await node.writeFile(
      `${CERTS_D}/skip.test/hosts.toml`,
      'server = "https://skip.test"\nskip_verify = true\n[host]\n',
    )
    await load(node, config)
    const before = await outcomes(node, image('skip.test'))
    const request = {
      configFile: CONFIG,
      bytes: Buffer.from(config),
      imports: [],
      containerdVersion: generation.version,
      directory: CERTS_D,
    }
    const plan = await planConfigPath({ ...request, directoriesWithHosts: [CERTS_D] })
    if (generation.expected.configVersion === 2) {
      t.match(before, { 'skip.test/library/hello:1': 'pulled' }, 'containerd 1.x reads lists')
      t.match(plan, { kind: 'already-set' })
      return
    }
    t.match(before, { 'skip.test/library/hello:1': 'unknown-authority' }, 'containerd 2.x does not')
    if (plan.kind !== 'edit') throw new Error(JSON.stringify(plan))
    await node.stopContainerd()
    await load(node, plan.bytes.toString('utf8'))
    t.match(await outcomes(node, image('skip.test')), { 'skip.test/library/hello:1': 'pulled' })
  },
)

eachGeneration(
  t,
  "our CA in a hosts.toml of someone else is trusted, whatever the file's shape",
  async (t, generation) => {
    const { node, corp, head, registry } = await lab(t, generation, ['port.test:8443'])
    await load(node, `${head}[${registry}]\n  config_path = "${CERTS_D}"\n`)
    await node.run(['rm', '-f', '/etc/ssl/certs/corp.pem'])
    const host = 'port.test:8443'
    const folder = `${CERTS_D}/${host}`
    await node.writeFile(`${folder}/registry-trust.crt`, corp.pem)
    await node.writeFile(`${folder}/theirs.pem`, (await createAuthority(node.scratch, 'unrelated')).pem)
    const shapes = [
      `server = "https://${host}"\n`,
      `server = "https://${host}"\n[host]\n`,
      '[host."https://dead.test"]\n  capabilities = ["pull", "resolve"]\n',
      `server = "https://dead.test"\n[host."${host}"]\n  skip_verify = false\n`,
      `[host."https://${host}"]\n  ca = "theirs.pem"\n`,
      `ca = ["theirs.pem"]\n[host]\n`,
    ]
    for (const [index, shape] of shapes.entries()) {
      const path = `${folder}/hosts.toml`
      const merged = await mergeHostsFile(shape, { host, path, ca: 'registry-trust.crt' })
      if (!merged.ok) throw new Error(merged.problem.message)
      await node.writeFile(path, merged.text)
      t.match(
        await outcomes(node, [`${host}/library/hello:1`]),
        { [`${host}/library/hello:1`]: 'pulled' },
        `shape ${index + 1}`,
      )
    }
  },
)
