import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { AgentOnNode, newestToTest } from '../fixtures/e2e/agent-on-node.ts'
import { dockerConfig, encoded, USER, WRONG, wrongLogins } from '../fixtures/e2e/logins.ts'
import { createAuthority, issueServer } from '../fixtures/node/certificates.ts'
import { startRegistry } from '../fixtures/node/registry.ts'
import { defaultConfig, startSandboxNode, withConfigPath } from '../fixtures/node/sandbox-node.ts'

const BASIC = 'basic.example.net'

t.test(
  'the daemon sees a corrected password by itself, and never repeats the wrong one',
  { timeout: 240_000 },
  async (t) => {
    const generation = newestToTest()
    const node = await startSandboxNode({ generation, config: withConfigPath(defaultConfig(generation)) })
    t.teardown(() => node.dispose())
    const pki = join(node.scratch, 'pki')
    await mkdir(pki)
    const authority = await createAuthority(pki, 'Corp Root')
    const registry = await startRegistry(node, {
      host: BASIC,
      certificate: await issueServer(authority, pki, [BASIC]),
      credentials: USER,
    })
    const agent = await AgentOnNode.on(node)
    const wrong = dockerConfig(BASIC, encoded({ ...USER, password: WRONG }))
    const trust = {
      registries: [
        { host: BASIC, ca: 'corp-root.pem', credentials: { dockerConfigFile: 'regcred' }, proof: { every: '1s' } },
      ],
    }
    await agent.configure(trust, { 'corp-root.pem': authority.pem, regcred: wrong })
    const daemon = await agent.startDaemon()
    const finding = (code: string) => (status: Awaited<ReturnType<typeof daemon.status>>) =>
      status.registries[0]?.finding.code === code
    const refused = await daemon.until(finding('login-refused'))
    t.equal(refused.registries[0]?.state, 'trusted', 'trust is trust')
    const metrics = (await daemon.get('/metrics')).body
    t.match(metrics, `registry_trust_registry_trusted{registry="${BASIC}"} 1`)
    t.match(metrics, `registry_trust_registry_login{registry="${BASIC}"} 0`)
    // Each proof reaches the registry; none brings the password again.
    const asked = async () => (await registry.accessLog()).filter(({ url }) => url.includes('/manifests/')).length
    const soFar = await asked()
    while ((await asked()) < soFar + 2) await sleep(40)
    t.equal(await wrongLogins(registry), 1, 'the wrong password was sent once')
    await agent.configure(trust, { regcred: dockerConfig(BASIC, encoded(USER)) })
    await daemon.until(finding('trusted'))
    t.match((await daemon.get('/metrics')).body, `registry_trust_registry_login{registry="${BASIC}"} 1`)
    t.notMatch(daemon.service.stderr + JSON.stringify(await daemon.status()), USER.password)
  },
)
