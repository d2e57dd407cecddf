// A marked secret in every field that names one, in the agent's own token, and in the logins that other tools leave in
// their files: none shows in anything the agent says, serves, leaves behind, or hands to a program it starts, whether
// the login is right, wrong or broken.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { TRUST_SCHEMA } from '../../agent/config/schema/schema.ts'
import { AgentOnNode, BY_SIGNAL, generationsToTest } from '../fixtures/e2e/agent-on-node.ts'
import { Canaries } from '../fixtures/e2e/canaries.ts'
import { dockerConfig } from '../fixtures/e2e/logins.ts'
import { tracedPrograms } from '../fixtures/e2e/write-trace.ts'
import { createAuthority, issueClient, issueServer } from '../fixtures/node/certificates.ts'
import type { Generation } from '../fixtures/node/generations.ts'
import { startRegistry } from '../fixtures/node/registry.ts'
import { defaultConfig, startSandboxNode } from '../fixtures/node/sandbox-node.ts'
import { openssl } from '../fixtures/pki/openssl.ts'
import { partOf } from '../fixtures/turn.ts'

const LISTEN = '127.0.0.1:9461'
const CERTS_D = '/etc/containerd/certs.d'
const CONFIG = '/etc/containerd/config.toml'
const BACKUP = '/var/lib/registry-trust/backup'
const BEGINNING = '/run/beginning'
const at = (name: string) => `${name}.example.net`
/** One for each way in which a login can be declared, and be right or wrong. */
const LOGINS = ['auth', 'plain', 'identity', 'registry-token', 'pair', 'token', 'broken', 'two-lines'] as const
const MUTUAL = at('mutual')

/**
 * `registries[].credentials.tokenFile` and so on: every key of trust.yaml that names a file, and every text that may be
 * a secret.
 */
function fieldsWithFiles(schema: object, path = ''): readonly string[] {
  const { properties, additionalProperties, items } = schema as { readonly [key: string]: object | undefined }
  const nested = (value: unknown, at: string) =>
    typeof value === 'object' && value !== null ? fieldsWithFiles(value, at) : []
  return [
    ...Object.entries(properties ?? {}).flatMap(([name, value]) => [
      ...(/file$|^ca$|^pem$|passw|secret|token|key$|auth/i.test(name) ? [`${path}${name}`] : []),
      ...nested(value, `${path}${name}.`),
    ]),
    ...nested(additionalProperties, `${path}NAME.`),
    ...nested(items, path.replace(/\.$/, '[].')),
  ]
}

t.test('every key that names a file is one that is tried here', async (t) => {
  t.strictSame(fieldsWithFiles(TRUST_SCHEMA).toSorted(), [
    'anchors.NAME.file',
    'anchors.NAME.passwordFile',
    'anchors.NAME.pem',
    // Certificates of the distribution, as anchors are read.
    'distrust[].file',
    // The name of a key of a ConfigMap.
    'publish.configMaps[].key',
    'registries[].ca',
    'registries[].clientCertificate.certFile',
    'registries[].clientCertificate.keyFile',
    'registries[].credentials.dockerConfigFile',
    'registries[].credentials.passwordFile',
    'registries[].credentials.tokenFile',
    'registries[].credentials.usernameFile',
    // The target of that name.
    'targets.hostsFile',
  ])
})

/** Logins in containerd's own file, in every form that its generations know. */
function withLegacyLogins(generation: Generation, canaries: Canaries): string {
  const isOne = generation.label.startsWith('1.')
  const registry = `plugins."${isOne ? 'io.containerd.grpc.v1.cri' : 'io.containerd.cri.v1.images'}".registry`
  const auth = Buffer.from(`robot:${canaries.of('config.toml auth')}`).toString('base64')
  return `${defaultConfig(generation)}
[${registry}.configs."${at('legacy')}".auth]
  username = "robot"
  password = "${canaries.of('config.toml password')}"
[${registry}.configs."${at('legacy-auth')}".auth]
  auth = "${auth}"
[${registry}.configs."${at('legacy-token')}".auth]
  identitytoken = "${canaries.of('config.toml identitytoken')}"
[${registry}.mirrors."${at('legacy')}"]
  endpoint = ["https://${at('auth')}"]
${isOne ? `[${registry}.auths."https://${at('old')}"]\n  password = "${canaries.of('config.toml auths')}"\n` : ''}`
}

/** Makes one, as a file or through standard output, and reads every part of it. */
async function bundleOn(
  agent: AgentOnNode,
  { flags, proxy }: { readonly flags: readonly string[]; readonly proxy: string },
  silent: (where: string, text: string) => void,
  { where, isPiped }: { readonly where: string; readonly isPiped: boolean },
) {
  const archive = join(agent.config, '..', where.replaceAll(' ', '-'))
  const output = isPiped ? ['--output', '-'] : ['--output', archive]
  const argv = agent.argv('support-bundle', ...output, ...flags)
  const write = isPiped ? ['sh', '-c', '"$@" > "$0"', archive] : []
  const made = await agent.node.exec(['env', `HTTPS_PROXY=${proxy}`, ...write, ...argv], { timeoutMs: 90_000 })
  t.equal(made.code, 0, made.stderr)
  silent(`${where}: what is said beside the archive`, made.stdout + made.stderr)
  const parts = execFileSync('tar', ['--list', '--file', archive], { encoding: 'utf8' }).split('\n').filter(Boolean)
  const wanted = ['containerd-config', 'configuration', 'host-directories', 'plan', 'doctor', 'audit', 'status']
  for (const name of wanted) {
    t.ok(
      parts.some((part) => part.endsWith(`/${name}.json`)),
      `${where} holds ${name}`,
    )
    t.match(isPiped ? made.stderr : made.stdout, `${name}.json`, `the list tells of ${name}`)
  }
  const text = execFileSync('tar', ['--extract', '--to-stdout', '--file', archive], { encoding: 'utf8' })
  t.match(text, '[redacted]')
  t.match(text, at('auth'), 'and yet it tells of the registries')
  silent(where, text)
}

const generations = generationsToTest()
const runs = [
  [generations[0], 'json'],
  [generations.at(-1), 'text'],
] as const
for (const [generation, format] of partOf(runs, 2)) {
  if (generation === undefined) throw new Error('no containerd to test on')
  t.test(`containerd ${generation.version}, log as ${format}`, { timeout: 240_000 }, async (t) => {
    const canaries = new Canaries()
    const node = await startSandboxNode({ generation, config: withLegacyLogins(generation, canaries) })
    t.teardown(() => node.dispose())
    const pki = join(node.scratch, 'pki')
    await mkdir(pki)
    const authority = await createAuthority(pki, 'Corp Root')
    const hosts = [...LOGINS.map(at), MUTUAL, at('k3s')]
    const registry = await startRegistry(node, {
      host: at('auth'),
      certificate: await issueServer(authority, pki, hosts),
      credentials: { username: 'robot', password: canaries.of('dockerConfigFile auth') },
    })
    for (const host of hosts) await node.setHost(host, registry.address)
    const client = await issueClient(authority, pki, 'node')
    const key = await readFile(client.keyFile, 'utf8')
    canaries.add('clientCertificate.keyFile', key)
    const store = (name: string, password: string) => {
      openssl(
        pki,
        'pkcs12',
        '-export',
        '-nokeys',
        '-in',
        authority.certFile,
        '-passout',
        `pass:${password}`,
        '-out',
        name,
      )
      return readFileSync(join(pki, name))
    }

    const agent = await AgentOnNode.on(node)
    const login = (name: string, credentials: object) => ({ host: at(name), anchors: ['store'], credentials })
    const trust = (more: readonly object[]) => ({
      anchors: {
        corp: { file: 'corp.pem' },
        store: { file: 'store.p12', passwordFile: 'store-password' },
        locked: { file: 'locked.p12', passwordFile: 'wrong-password' },
        pasted: { file: 'pasted.pem' },
      },
      registries: [
        login('auth', { dockerConfigFile: 'auth.json' }),
        login('plain', { dockerConfigFile: 'plain.json' }),
        login('identity', { dockerConfigFile: 'identity.json' }),
        login('registry-token', { dockerConfigFile: 'registry-token.json' }),
        login('pair', { usernameFile: 'user', passwordFile: 'pair-password' }),
        login('token', { usernameFile: 'user', tokenFile: 'token' }),
        login('broken', { dockerConfigFile: 'broken.json' }),
        login('two-lines', { usernameFile: 'user', passwordFile: 'two-lines' }),
        { host: at('locked'), anchors: ['locked', 'pasted'] },
        ...more,
      ],
      ...BY_SIGNAL,
    })
    const mutual = {
      host: MUTUAL,
      anchors: ['corp'],
      clientCertificate: { certFile: 'client.pem', keyFile: 'client.key' },
    }
    const misplaced = { host: at('misplaced'), clientCertificate: { certFile: 'client.pem', keyFile: 'misplaced.key' } }
    const c = (field: string) => canaries.of(field)
    const auth = Buffer.from(`robot:${c('dockerConfigFile auth')}`).toString('base64')
    await agent.configure(trust([mutual, misplaced]), {
      'corp.pem': authority.pem,
      'store.p12': store('store.p12', c('anchors.passwordFile')),
      'store-password': c('anchors.passwordFile'),
      'locked.p12': store('locked.p12', 'another'),
      'wrong-password': c('anchors.passwordFile, wrong'),
      'pasted.pem': `${authority.pem}${key}`,
      'auth.json': dockerConfig(at('auth'), { auth }),
      'plain.json': dockerConfig(at('plain'), { username: 'robot', password: c('dockerConfigFile password') }),
      'identity.json': dockerConfig(at('identity'), { identitytoken: c('dockerConfigFile identitytoken') }),
      'registry-token.json': dockerConfig(at('registry-token'), { registrytoken: c('dockerConfigFile registrytoken') }),
      'broken.json': `{"auths": {"${at('broken')}": {"password": "${c('dockerConfigFile, broken')}",}}`,
      user: 'robot\n',
      'pair-password': c('passwordFile'),
      token: c('tokenFile'),
      'two-lines': `${c('passwordFile, first line')}\n${c('passwordFile, second line')}\n`,
      'client.pem': client.pem,
      'client.key': key,
      'misplaced.key': `${c('keyFile, no key')}\n`,
      'http-token': c('--token-file'),
      // Nothing of ours names it: somebody has put the manifest of a Secret beside trust.yaml.
      'pull-secret.yaml': `kind: Secret\nstringData:\n  anything: ${c('a Secret beside trust.yaml')}\n`,
    })
    const k3s = join(agent.config, 'registries.yaml')
    const k3sLogin = { username: 'robot', password: c('registries.yaml password'), auth: c('registries.yaml auth') }
    await writeFile(k3s, JSON.stringify({ configs: { [at('k3s')]: { auth: k3sLogin, tls: { ca_file: 'corp.pem' } } } }))

    const FLAGS = ['--config', k3s, '--log-level', 'debug', '--log-format', format]
    const said: { readonly where: string; readonly text: string }[] = []
    const silent = (where: string, text: string) => {
      said.push({ where, text })
      t.strictSame(canaries.foundIn(text), [], `no secret in ${where}`)
    }
    await node.writeFile(BEGINNING, '')
    /** Every file written since the agent was first started in which one of them stands. */
    const files = async () => {
      await writeFile(join(agent.config, 'patterns'), canaries.patterns())
      // The rest of the node is read-only.
      const places = ['/etc', '/var/lib', '/opt', '/run', '/dev/shm']
      const find = ['find', ...places, '-type', 'f', '-newer', BEGINNING]
      const argv = [...find, '-exec', 'grep', '-lFf', join(agent.config, 'patterns'), '{}', '+']
      return (await node.exec(argv)).stdout.split('\n').filter(Boolean).toSorted()
    }
    const original = await node.readFile(CONFIG)

    const programs = join(node.scratch, 'programs')
    const service = await node.start(
      tracedPrograms(
        programs,
        agent.argv('agent', ...FLAGS, '--listen', LISTEN, '--token-file', join(agent.config, 'http-token')),
      ),
    )
    await service.waitFor(/\blistening\b/)
    const daemon = agent.daemon(service)
    const status = await daemon.until(
      ({ state, registries }) =>
        state !== 'applying' &&
        registries.length > 9 &&
        registries.every(({ finding }) => finding.code !== 'not-proved-yet'),
    )
    const codes = Object.fromEntries(status.registries.map(({ host, finding }) => [host, finding.code]))
    t.match(codes, {
      [at('auth')]: 'trusted',
      [at('plain')]: 'login-refused',
      [at('pair')]: 'login-refused',
      [at('token')]: 'login-refused',
      [at('registry-token')]: 'login-refused',
      [at('identity')]: 'login-untried',
      [at('broken')]: 'bad-credentials-file',
      [at('two-lines')]: 'bad-credentials-file',
    })
    const wrongToken = c('a wrong bearer token')
    const asked = c('a password in a query')
    const post = (path: string, token: string) =>
      node.run(['curl', '-s', '-X', 'POST', '-H', `Authorization: Bearer ${token}`, `http://${LISTEN}${path}`])
    for (const [path, token] of [
      ['/reconcile', c('--token-file')],
      ['/prove?force', wrongToken],
      [`/loglevel?level=${asked}`, c('--token-file')],
    ] as const)
      silent(`POST ${path.replace(asked, '…')}`, await post(path, token))
    for (const path of [
      '/status',
      '/metrics',
      '/',
      '/openapi.json',
      '/healthz?verbose',
      `/status/registries/${at('plain')}`,
    ])
      silent(`GET ${path}`, (await daemon.get(path)).body)
    silent('an unknown address', (await daemon.get(`/nothing?token=${asked}`)).body)

    const backup = `${BACKUP}/${createHash('sha256').update(original).digest('hex')}`
    const keyFile = `${CERTS_D}/${MUTUAL}/client.key`
    t.strictSame(
      await files(),
      [CONFIG, keyFile, backup].toSorted(),
      'config.toml, its backup, and the key beside hosts.toml',
    )
    t.equal(await node.readFile(backup), original, 'byte for byte')
    for (const path of [backup, keyFile]) t.equal((await node.run(['stat', '-c', '%a %u', path])).trim(), '600 0', path)
    t.equal((await node.run(['stat', '-c', '%a', '/var/lib/registry-trust'])).trim(), '700')

    silent('the answer of status', (await agent.status('--json')).stdout + (await agent.status()).stdout)
    await agent.configure(trust([]))
    await daemon.until(
      ({ state, registries }) => state === 'converged' && !registries.some(({ host }) => host === MUTUAL),
    )
    t.strictSame(await files(), [CONFIG, backup], 'the key has gone, and into no backup')
    await service.stop()
    silent('the log', service.stderr + service.stdout)
    t.match(service.stderr, format === 'json' ? /"level":"debug"/ : / DEBUG /)
    const started = readFileSync(programs, 'utf8')
    t.match(
      started,
      /"-c", "\/dev\/shm\/registry-trust-\w{6}\/config\.toml"/,
      'the containerd of the rehearsal is among the programs',
    )
    t.match(started, /GOMEMLIMIT=/, 'with its environment')
    silent('arguments and environment of every program', started)

    await agent.configure(trust([mutual, misplaced]))
    const url = (field: string, host: string) => `https://robot:${c(field)}@${at(host)}`
    const header = Buffer.from(`robot:${c('hosts.toml header')}`).toString('base64')
    const surroundings = { flags: FLAGS, proxy: url('the password of a proxy', 'proxy') }
    const theirs = {
      'header.example.net': `[host."https://h.example.net".header]\n  authorization = ["Basic ${header}"]\n  x-any = ["${c('hosts.toml header')}"]\n`,
      'read.example.net': `server = "${url('hosts.toml server', 'read')}"\n[host."${url('hosts.toml host', 'mirror')}"]\n`,
      'broken.example.org': `[host."${url('hosts.toml, broken', 'mirror')}"]\n  capabilities = 3\n`,
    }
    for (const [host, text] of Object.entries(theirs)) await node.writeFile(`${CERTS_D}/${host}/hosts.toml`, text)
    const commands = [
      // The support bundle reads all of them.
      ...partOf(Object.keys(theirs), 3).map((host) => ['explain', `${host}/library/hello:1`]),
      ['plan', '--json'],
      ['apply'],
      ['doctor'],
      ['explain', `${at('plain')}/library/hello:1`],
      ['probe', at('auth')],
      ['inspect', join(agent.config, 'locked.p12'), '--password-file', join(agent.config, 'wrong-password')],
      ['lint', agent.config, CONFIG],
    ]
    // What the commands print does not depend on containerd's generation.
    for (const [name = '', ...words] of format === 'json' ? commands : []) {
      const { stdout, stderr } = await agent.command(name, ...words, ...FLAGS)
      t.not(stdout + stderr, '', name)
      silent(name, stdout + stderr)
    }
    const isWhole = format === 'json'
    if (isWhole) await bundleOn(agent, surroundings, silent, { where: 'a support bundle', isPiped: false })
    await node.writeFile(CONFIG, `${original}\npassword = "${c('a broken config.toml')}\n`)
    if (isWhole) {
      const { stdout, stderr } = await agent.command('plan', ...FLAGS)
      t.match(stdout + stderr, /config\.toml/, 'plan tells of a broken config.toml')
      silent('plan with a broken config.toml', stdout + stderr)
      // It holds what doctor says too.
      const where = 'a support bundle with a broken config.toml'
      await bundleOn(agent, surroundings, silent, { where, isPiped: true })
    }
    silent(
      'what is recorded',
      await node.run(['sh', '-c', 'cd /var/lib/registry-trust && cat *.json* journal/*']).catch(() => ''),
    )
    t.ok(canaries.size >= 20 && said.length >= 12, `${canaries.size} secrets, ${said.length} places`)
  })
}
