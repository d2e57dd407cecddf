// Logins for proofs on real registries: trust, login and a missing image are three findings; a wrong password is sent
// once, by the agent.
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { AgentOnNode, generationsToTest } from '../fixtures/e2e/agent-on-node.ts'
import { dockerConfig, encoded, USER, WRONG, wrongLogins } from '../fixtures/e2e/logins.ts'
import { type Authority, createAuthority, issueServer } from '../fixtures/node/certificates.ts'
import { sampleOf } from '../fixtures/node/generations.ts'
import { type FixtureRegistry, startRegistry } from '../fixtures/node/registry.ts'
import { defaultConfig, type SandboxNode, startSandboxNode, withConfigPath } from '../fixtures/node/sandbox-node.ts'
import { startTokenService, type TokenService } from '../fixtures/node/token-service.ts'

const BASIC = 'basic.example.net'
const BEARER = 'harbor.example.net'
const TOKENS = 'token.example.net'
const REFRESH = 'an-identity-token'

type Place = { readonly node: SandboxNode; readonly agent: AgentOnNode; readonly authority: Authority }

/** What the agent says of the one registry declared, and the exit code. */
async function prove(
  { agent, authority }: Place,
  registry: object,
  files: { [name: string]: string | undefined } = {},
) {
  const trust = { registries: [{ ca: 'corp-root.pem', ...registry }], targets: { systemTrust: { enabled: false } } }
  await agent.configure(trust, { 'corp-root.pem': authority.pem, ...files })
  const { code, report, stderr } = await agent.apply()
  return { code, found: report.findings[0]?.finding.code, text: JSON.stringify(report) + stderr, report }
}

const generations = generationsToTest()
// The login's own paths differ between the oldest and the newest alone.
for (const generation of sampleOf([generations[0], generations.at(-1)].filter((one) => one !== undefined))) {
  t.test(`containerd ${generation.version}`, { timeout: 240_000 }, async (t) => {
    const node = await startSandboxNode({ generation, config: withConfigPath(defaultConfig(generation)) })
    t.teardown(() => node.dispose())
    const pki = join(node.scratch, 'pki')
    await mkdir(pki)
    const authority = await createAuthority(pki, 'Corp Root')
    const place: Place = { node, agent: await AgentOnNode.on(node), authority }

    t.test('a registry with passwords (HTTP basic)', async (t) => {
      const certificate = await issueServer(authority, pki, [BASIC])
      const registry = await startRegistry(node, { host: BASIC, certificate, credentials: USER })
      const login = { host: BASIC, credentials: { dockerConfigFile: '.dockerconfigjson' } }

      const other = await createAuthority(pki, 'Another Root')
      const untrusted = await prove({ ...place, authority: other }, login, {
        '.dockerconfigjson': dockerConfig(BASIC, encoded(USER)),
      })
      t.match(untrusted, { code: 3, found: 'unknown-authority' }, 'right credentials do not hide a fault of trust')
      t.same(await registry.accessLog(), [], 'and are not sent to a server that is not trusted: it is asked nothing')

      const none = await prove(place, { host: BASIC })
      t.match(none, { code: 0, found: 'unauthorized' }, 'without credentials trust is proved, and the login is missing')

      const before = await wrongLogins(registry)
      const wrong = await prove(place, login, {
        '.dockerconfigjson': dockerConfig(BASIC, encoded({ ...USER, password: WRONG })),
      })
      t.match(wrong, { code: 3, found: 'login-refused' }, 'a wrong password is no fault of trust')
      t.equal((await wrongLogins(registry)) - before, 1, 'and was sent once')
      t.notMatch(wrong.text, WRONG, 'no password in the report')

      t.match(await prove(place, login, { '.dockerconfigjson': dockerConfig(BASIC, USER) }), {
        code: 0,
        found: 'trusted',
      })
      const named = async () => (await node.images()).flatMap(({ tags, digests }) => [...tags, ...digests])
      const kept = await named()
      const login64 = { '.dockerconfigjson': dockerConfig('*.example.net', encoded(USER)) }
      const pulling = (image: string, more = {}) => ({ ...login, proof: { level: 'pull', image, ...more } })
      const sparing = await prove(place, pulling(registry.reference()), login64)
      t.match(sparing, { code: 0, found: 'trusted', text: /itself was not pulled/ }, 'a proof with the login')
      t.same(await named(), kept, 'leaves no image that other Pods could start without it')
      const leaving = { leavesImage: true }
      t.match(
        await prove(place, pulling(registry.reference(), leaving)),
        { code: 0, found: 'trusted', text: /containerd pulled/ },
        'a real pull with the login, where its user wants the image to stay',
      )
      t.ok((await named()).includes(registry.reference()), 'and it stays')
      t.match(
        await prove(place, pulling(registry.reference())),
        { code: 0, found: 'trusted', text: /containerd pulled/ },
        'an image that is there already is pulled again: nothing more is left',
      )
      t.match(
        await prove(place, pulling(registry.reference('library/no-such:1'), leaving)),
        { code: 3, found: 'not-found' },
        'a missing repository is neither',
      )
      const pair = { usernameFile: 'user', passwordFile: 'password' }
      t.match(
        await prove(
          place,
          { host: BASIC, credentials: pair },
          { user: `${USER.username}\n`, password: `${USER.password}\n` },
        ),
        { code: 0, found: 'trusted' },
        'user and password from files',
      )
      const expired = `e30.${Buffer.from('{"exp":1000000000}').toString('base64url')}.c2ln`
      const token = await prove(place, { host: BASIC, credentials: { tokenFile: 'token' } }, { token: expired })
      t.match(token, { code: 3, found: 'login-expired' })
      t.match(token.text, /the token expired at 2001-09-09/)
      t.match(await prove(place, { host: BASIC, credentials: { tokenFile: 'none' } }), {
        code: 3,
        found: 'bad-credentials-file',
      })
      t.match(await prove(place, login, { '.dockerconfigjson': '{"auths":' }), {
        code: 3,
        found: 'bad-credentials-file',
      })
      t.equal((await wrongLogins(registry)) - before, 1, 'nothing else was ever refused')
    })

    t.test('a mirror gets no login that is not declared for it', async (t) => {
      const mirrorHost = 'mirror.example.net'
      const registry = await startRegistry(node, {
        host: 'upstream.example.net',
        certificate: await issueServer(authority, pki, ['upstream.example.net']),
        credentials: USER,
      })
      const mirror = await startRegistry(node, {
        host: mirrorHost,
        certificate: await issueServer(authority, pki, [mirrorHost]),
        credentials: { username: 'team-b', password: 'of-team-b' },
      })
      const declared = (hosts: readonly string[]) => ({
        host: registry.host,
        ca: undefined,
        anchors: ['corp'],
        mirrors: [{ url: `https://${mirrorHost}`, anchors: ['corp'] }],
        credentials: { dockerConfigFile: '.dockerconfigjson', ...(hosts.length > 0 && { hosts }) },
        proof: { level: 'pull', image: registry.reference() },
      })
      const configure = async (hosts: readonly string[]) => {
        const trust = {
          anchors: { corp: { file: 'corp-root.pem' } },
          registries: [declared(hosts)],
          targets: { systemTrust: { enabled: false } },
        }
        const files = {
          'corp-root.pem': authority.pem,
          '.dockerconfigjson': dockerConfig(registry.host, encoded(USER)),
        }
        await place.agent.configure(trust, files)
        return place.agent.apply()
      }
      t.equal((await configure([])).code, 0, 'the registry itself accepts it')
      t.ok((await mirror.accessLog()).length > 0, 'the mirror was asked first')
      t.equal(await wrongLogins(mirror), 0, 'without the login')
      await configure([mirrorHost])
      t.ok((await wrongLogins(mirror)) > 0, 'with it where it is declared')
    })

    t.test('a registry with tokens (bearer), the service on another host', async (t) => {
      const { registry, tokens } = await startBearer(place, pki)
      const undeclared = { host: BEARER, credentials: { dockerConfigFile: '.dockerconfigjson' } }
      const login = { ...undeclared, credentials: { ...undeclared.credentials, hosts: [TOKENS] } }
      const right = { '.dockerconfigjson': dockerConfig(BEARER, encoded(USER)) }

      t.match(await prove(place, { host: BEARER }), { code: 0, found: 'unauthorized' })
      const untried = await prove(place, undeclared, right)
      t.match(untried, { found: 'login-untried', text: /name it in credentials\.hosts/ })
      t.same(
        (await tokens.requests()).filter(({ anonymous }) => !anonymous),
        [],
        'a token service that is not declared gets no login',
      )
      const wrong = await prove(place, login, {
        '.dockerconfigjson': dockerConfig(BEARER, encoded({ ...USER, password: WRONG })),
      })
      t.match(wrong, { code: 3, found: 'login-refused' })
      t.equal(
        (await tokens.requests()).filter(({ known, anonymous }) => !known && !anonymous).length,
        1,
        'the wrong password was sent once',
      )
      t.match(
        await prove(place, login, right),
        { code: 0, found: 'trusted' },
        'the login is right, the probe is not for it',
      )
      const image = (path: string) => ({ ...login, proof: { level: 'pull', image: registry.reference(path) } })
      t.match(await prove(place, image('library/hello:1'), right), { code: 0, found: 'trusted' })
      t.match(await prove(place, image('secret/image:1'), right), { found: 'forbidden' }, 'no right to that image')
      t.match(
        await prove(place, image('library/hello:1'), {
          '.dockerconfigjson': dockerConfig(BEARER, { identitytoken: REFRESH }),
        }),
        { code: 0, found: 'trusted' },
        'an identity token',
      )
    })

    t.test('a fragment cannot have the login of another team sent to its own registry', async (t) => {
      const theirs = await startRegistry(node, {
        host: 'team-b.example.net',
        certificate: await issueServer(authority, pki, ['team-b.example.net']),
        credentials: { username: 'team-b', password: 'of-team-b' },
      })
      const ours = await startRegistry(node, {
        host: 'team-a.example.net',
        certificate: await issueServer(authority, pki, ['team-a.example.net']),
        credentials: USER,
      })
      const files = {
        'corp-root.pem': authority.pem,
        user: USER.username,
        password: USER.password,
        'registries.d/corp-root.pem': authority.pem,
        'registries.d/team-b.yaml': JSON.stringify({
          registries: [
            { host: theirs.host, ca: 'corp-root.pem', credentials: { usernameFile: 'user', passwordFile: 'password' } },
          ],
        }),
      }
      const trust = {
        registries: [
          { host: ours.host, ca: 'corp-root.pem', credentials: { usernameFile: 'user', passwordFile: 'password' } },
        ],
        targets: { systemTrust: { enabled: false } },
      }
      await place.agent.configure(trust, files)
      const { code, report, stderr } = await place.agent.apply()
      t.equal(code, 3, 'what is refused is no success')
      t.match(report.findings, [{ host: ours.host, finding: { code: 'trusted' } }], 'and holds up nothing else')
      t.match(
        stderr,
        /registries\.d\/team-b\.yaml:1:\d+: registries\[0\]\.credentials\.usernameFile names user, which is/,
      )
      t.same(await theirs.accessLog(), [], 'their registry was asked nothing')
    })
  })
}

async function startBearer(
  { node, authority }: Place,
  pki: string,
): Promise<{ registry: FixtureRegistry; tokens: TokenService }> {
  const signer = await createAuthority(pki, 'Token Signer')
  const tokens = await startTokenService(node, {
    host: TOKENS,
    certificate: await issueServer(authority, pki, [TOKENS]),
    signer,
    ...USER,
    refreshToken: REFRESH,
    repositories: ['library/hello'],
  })
  const certificate = await issueServer(authority, pki, [BEARER])
  return { tokens, registry: await startRegistry(node, { host: BEARER, certificate, tokens }) }
}
