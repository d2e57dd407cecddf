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
async function prove(place: Place, registry: object, files: { [name: string]: string | undefined } = {}) {
  const { code, report, text } = await proveAll(place, [registry], files)
  return { code, found: report.findings[0]?.finding.code, text }
}

/** The same for several at once: what was found by the name that each has before the first dot. */
async function proveAll(
  { agent, authority }: Place,
  registries: readonly object[],
  files: { [name: string]: string | undefined } = {},
) {
  const trust = {
    registries: registries.map((registry) => ({ ca: 'corp-root.pem', ...registry })),
    targets: { systemTrust: { enabled: false } },
  }
  await agent.configure(trust, { 'corp-root.pem': authority.pem, ...files })
  const { code, report, stderr } = await agent.apply()
  const found = Object.fromEntries(report.findings.map(({ host, finding }) => [host.split('.')[0], finding.code]))
  return { code, found, text: JSON.stringify(report) + stderr, report }
}

/** Other names of the same registry: each can be declared with another login. */
const at = (name: string) => `${name}.example.net`
const BASIC_NAMES = ['none', 'wrong', 'plain', 'pair', 'expired', 'no-file', 'broken', 'missing'].map(at)
const BEARER_NAMES = ['anonymous', 'undeclared', 'wrong-token', 'login', 'image', 'secret', 'identity'].map(at)

async function named(node: SandboxNode, names: readonly string[], { address }: FixtureRegistry): Promise<void> {
  for (const name of names) await node.setHost(name, address)
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
      const certificate = await issueServer(authority, pki, [BASIC, ...BASIC_NAMES])
      const registry = await startRegistry(node, { host: BASIC, certificate, credentials: USER })
      await named(node, BASIC_NAMES, registry)
      const login = { host: BASIC, credentials: { dockerConfigFile: '.dockerconfigjson' } }

      const other = await createAuthority(pki, 'Another Root')
      const untrusted = await prove({ ...place, authority: other }, login, {
        '.dockerconfigjson': dockerConfig(BASIC, encoded(USER)),
      })
      t.match(untrusted, { code: 3, found: 'unknown-authority' }, 'right credentials do not hide a fault of trust')
      t.same(await registry.accessLog(), [], 'and are not sent to a server that is not trusted: it is asked nothing')

      const pair = { usernameFile: 'user', passwordFile: 'password' }
      const well = await proveAll(
        place,
        [
          { host: at('none') },
          { host: at('plain'), credentials: { dockerConfigFile: 'plain.json' } },
          { host: at('pair'), credentials: pair },
        ],
        {
          'plain.json': dockerConfig(at('plain'), USER),
          user: `${USER.username}\n`,
          password: `${USER.password}\n`,
        },
      )
      t.match(well, { code: 0, found: { plain: 'trusted', pair: 'trusted' } })
      t.equal(well.found['none'], 'unauthorized', 'without credentials trust is proved, and the login is missing')

      const before = await wrongLogins(registry)
      const expired = `e30.${Buffer.from('{"exp":1000000000}').toString('base64url')}.c2ln`
      const missing = { level: 'pull', image: `${at('missing')}/library/no-such:1`, leavesImage: true }
      const refused = await proveAll(
        place,
        [
          { host: at('wrong'), credentials: { dockerConfigFile: 'wrong.json' } },
          { host: at('expired'), credentials: { tokenFile: 'token' } },
          { host: at('no-file'), credentials: { tokenFile: 'none' } },
          { host: at('broken'), credentials: { dockerConfigFile: 'broken.json' } },
          { host: at('missing'), credentials: pair, proof: missing },
        ],
        {
          'wrong.json': dockerConfig(at('wrong'), encoded({ ...USER, password: WRONG })),
          token: expired,
          'broken.json': '{"auths":',
        },
      )
      const codes = { wrong: 'login-refused', expired: 'login-expired', missing: 'not-found' }
      const noFile = 'bad-credentials-file'
      t.match(refused, { code: 3, found: { ...codes, 'no-file': noFile, broken: noFile } }, 'none is a fault of trust')
      t.equal((await wrongLogins(registry)) - before, 1, 'a wrong password was sent once, and nothing else was refused')
      t.notMatch(refused.text, WRONG, 'no password in the report')
      t.match(refused.text, /the token expired at 2001-09-09/)

      const onNode = async () => (await node.images()).flatMap(({ tags, digests }) => [...tags, ...digests])
      const kept = await onNode()
      const login64 = { '.dockerconfigjson': dockerConfig('*.example.net', encoded(USER)) }
      const pulling = (more = {}) => ({ ...login, proof: { level: 'pull', image: registry.reference(), ...more } })
      const sparing = await prove(place, pulling(), login64)
      t.match(sparing, { code: 0, found: 'trusted', text: /itself was not pulled/ }, 'a proof with the login')
      t.same(await onNode(), kept, 'leaves no image that other Pods could start without it')
      t.match(
        await prove(place, pulling({ leavesImage: true })),
        { code: 0, found: 'trusted', text: /containerd pulled/ },
        'a real pull with the login, where its user wants the image to stay',
      )
      t.ok((await onNode()).includes(registry.reference()), 'and it stays')
      t.match(
        await prove(place, pulling()),
        { code: 0, found: 'trusted', text: /containerd pulled/ },
        'an image that is there already is pulled again: nothing more is left',
      )
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
      const tokens = await startBearer(place, pki)
      const declared = (name: string, file: string, more = {}) => ({
        host: at(name),
        credentials: { dockerConfigFile: file, hosts: [TOKENS] },
        ...more,
      })
      const untried = await proveAll(
        place,
        [{ host: at('anonymous') }, { host: at('undeclared'), credentials: { dockerConfigFile: 'right.json' } }],
        { 'right.json': dockerConfig('*.example.net', encoded(USER)) },
      )
      t.match(untried, {
        found: { anonymous: 'unauthorized', undeclared: 'login-untried' },
        text: /name it in credentials\.hosts/,
      })
      t.same(
        (await tokens.requests()).filter(({ anonymous }) => !anonymous),
        [],
        'a token service that is not declared gets no login',
      )
      const image = (name: string, path: string) => ({ proof: { level: 'pull', image: `${at(name)}/${path}` } })
      const tried = await proveAll(
        place,
        [
          declared('wrong-token', 'wrong.json'),
          declared('login', 'right.json'),
          declared('image', 'right.json', image('image', 'library/hello:1')),
          declared('secret', 'right.json', image('secret', 'secret/image:1')),
          declared('identity', 'identity.json', image('identity', 'library/hello:1')),
        ],
        {
          'wrong.json': dockerConfig(at('wrong-token'), encoded({ ...USER, password: WRONG })),
          'identity.json': dockerConfig(at('identity'), { identitytoken: REFRESH }),
        },
      )
      t.equal(tried.code, 3)
      t.equal(tried.found['wrong-token'], 'login-refused')
      t.equal(
        (await tokens.requests()).filter(({ known, anonymous }) => !known && !anonymous).length,
        1,
        'the wrong password was sent once',
      )
      t.equal(tried.found['login'], 'trusted', 'the login is right, the probe is not for it')
      t.equal(tried.found['image'], 'trusted')
      t.equal(tried.found['secret'], 'forbidden', 'no right to that image')
      t.equal(tried.found['identity'], 'trusted', 'an identity token')
      // From here on nobody answers there.
      await node.setHost(TOKENS, '127.0.0.9')
      const away = await proveAll(place, [declared('login', 'right.json'), { host: BASIC }], {
        'right.json': dockerConfig('*.example.net', encoded(USER)),
      })
      t.same(
        away.found,
        { login: 'refused', [BASIC.split('.')[0] ?? '']: 'unauthorized' },
        'a token service that is down is told of its registry, and the others are proved',
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

async function startBearer({ node, authority }: Place, pki: string): Promise<TokenService> {
  const signer = await createAuthority(pki, 'Token Signer')
  const tokens = await startTokenService(node, {
    host: TOKENS,
    certificate: await issueServer(authority, pki, [TOKENS]),
    signer,
    ...USER,
    refreshToken: REFRESH,
    repositories: ['library/hello'],
  })
  const certificate = await issueServer(authority, pki, [BEARER, ...BEARER_NAMES])
  const registry = await startRegistry(node, { host: BEARER, certificate, tokens })
  await named(node, BEARER_NAMES, registry)
  return tokens
}
