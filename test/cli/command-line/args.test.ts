import t from 'tap'
import { type Environment, type Options, parseCommandLine } from '../../../agent/cli/command-line/args.ts'
import { COMMAND_NAMES, environmentName, FLAG_NAMES, flag } from '../../../agent/cli/command-line/flags.ts'

const DEFAULTS: Options = {
  operands: [],
  config: ['/etc/registry-trust'],
  root: '/',
  stateDir: '/var/lib/registry-trust',
  listen: ':9461',
  consentUnrehearsed: false,
  allowOrphan: false,
  json: false,
  diff: false,
  watch: false,
  all: false,
  logLevel: 'info',
  logFormat: 'text',
}

function optionsOf(argv: string, environment: Environment = {}): Options {
  const invocation = parseCommandLine(argv.split(' '), environment)
  if (invocation.kind !== 'run') throw new Error(`${argv} is no command`)
  return invocation.options
}

t.test('a command alone has the documented defaults', async (t) => {
  for (const command of ['plan', 'apply', 'status'] as const) {
    t.strictSame(parseCommandLine([command], {}), { kind: 'run', command, options: DEFAULTS })
  }
  t.strictSame(parseCommandLine(['agent'], {}), {
    kind: 'run',
    command: 'agent',
    options: { ...DEFAULTS, logFormat: 'json' },
  })
})

t.test('every flag is read, before or after the command, with a space or an equals sign', async (t) => {
  const table: readonly (readonly [string, Partial<Options>])[] = [
    ['plan --config a --config=b', { config: ['a', 'b'] }],
    ['--config a plan', { config: ['a'] }],
    ['plan --root /host', { root: '/host' }],
    ['plan --containerd-address /run/c.sock', { containerdAddress: '/run/c.sock' }],
    ['plan --containerd-address unix:///run/c.sock', { containerdAddress: '/run/c.sock' }],
    ['plan --state-dir s', { stateDir: 's' }],
    ['plan --listen [::1]:1', { listen: '[::1]:1' }],
    ['plan --node-name n1', { nodeName: 'n1' }],
    ['agent --token-file /t', { tokenFile: '/t', logFormat: 'json' }],
    ['agent --cri-proxy /run/proxy.sock', { criProxy: '/run/proxy.sock', logFormat: 'json' }],
    ['agent --restarter-socket /run/r.sock', { restarterSocket: '/run/r.sock', logFormat: 'json' }],
    ['apply --consent-unrehearsed', { consentUnrehearsed: true }],
    ['apply --allow-orphan', { allowOrphan: true }],
    ['inspect --password-file /p a.p12', { passwordFile: '/p', operands: ['a.p12'] }],
    ['apply --json', { json: true }],
    ['apply --json --no-json', { json: false }],
    ['plan --log-level debug --log-format json', { logLevel: 'debug', logFormat: 'json' }],
    ['plan --log-level debug --log-level=warn', { logLevel: 'warn' }],
    ['plan --node-name=-odd', { nodeName: '-odd' }],
  ]
  for (const [argv, expected] of table) t.strictSame(optionsOf(argv), { ...DEFAULTS, ...expected }, argv)
})

t.test('words after a command are its operands, as many as it takes', async (t) => {
  const table: readonly (readonly [string, readonly string[]])[] = [
    ['probe harbor.example.net', ['harbor.example.net']],
    ['probe --json harbor.example.net:5000', ['harbor.example.net:5000']],
    ['inspect a.pem --json b.p12', ['a.pem', 'b.p12']],
    ['inspect -- -odd.pem', ['-odd.pem']],
    ['explain harbor.example.net/app:1', ['harbor.example.net/app:1']],
  ]
  for (const [argv, operands] of table) t.strictSame(optionsOf(argv).operands, operands, argv)
  t.match(parseCommandLine(['help', 'probe'], {}), {
    kind: 'help',
    exitCode: 0,
    text: /probe \[FLAGS\] HOST\[:PORT\]$/m,
  })
  t.match(parseCommandLine(['inspect', '--help'], {}), { kind: 'help', text: /inspect \[FLAGS\] FILE…$/m })
})

t.test('every flag has an environment variable, and the flag wins', async (t) => {
  const table: readonly (readonly [string, Environment, Partial<Options>])[] = [
    ['plan', { REGISTRY_TRUST_CONFIG: 'a:b' }, { config: ['a', 'b'] }],
    ['plan --config c', { REGISTRY_TRUST_CONFIG: 'a:b' }, { config: ['c'] }],
    ['plan', { REGISTRY_TRUST_ROOT: '/host' }, { root: '/host' }],
    ['plan --root /', { REGISTRY_TRUST_ROOT: '/host' }, { root: '/' }],
    ['plan', { REGISTRY_TRUST_CONTAINERD_ADDRESS: 'unix:/c' }, { containerdAddress: '/c' }],
    ['plan', { REGISTRY_TRUST_STATE_DIR: 's' }, { stateDir: 's' }],
    ['plan', { REGISTRY_TRUST_LISTEN: ':1' }, { listen: ':1' }],
    ['plan', { REGISTRY_TRUST_NODE_NAME: 'n' }, { nodeName: 'n' }],
    ['plan', { REGISTRY_TRUST_NODE_LABELS: '/labels' }, { nodeLabels: '/labels' }],
    ['plan', { REGISTRY_TRUST_TOKEN_FILE: '/t' }, { tokenFile: '/t' }],
    ['plan', { REGISTRY_TRUST_HEALTH_LISTEN: ':2' }, { healthListen: ':2' }],
    ['plan', { REGISTRY_TRUST_TLS_CERT_FILE: '/c' }, { tlsCertFile: '/c' }],
    ['plan', { REGISTRY_TRUST_TLS_KEY_FILE: '/k' }, { tlsKeyFile: '/k' }],
    ['plan', { REGISTRY_TRUST_NAMESPACE: 'n' }, { namespace: 'n' }],
    ['plan', { REGISTRY_TRUST_FLEET: '/f' }, { fleet: '/f' }],
    ['plan', { REGISTRY_TRUST_CRI_PROXY: '/c' }, { criProxy: '/c' }],
    ['plan', { REGISTRY_TRUST_RESTARTER_SOCKET: '/r' }, { restarterSocket: '/r' }],
    ['plan', { REGISTRY_TRUST_PASSWORD_FILE: '/p' }, { passwordFile: '/p' }],
    ['plan', { REGISTRY_TRUST_CONSENT_UNREHEARSED: '1' }, { consentUnrehearsed: true }],
    ['plan', { REGISTRY_TRUST_ALLOW_ORPHAN: 'yes' }, { allowOrphan: true }],
    ['plan', { REGISTRY_TRUST_JSON: 'True' }, { json: true }],
    ['plan --no-json', { REGISTRY_TRUST_JSON: 'true' }, { json: false }],
    ['plan --diff', {}, { diff: true }],
    ['support-bundle', { REGISTRY_TRUST_OUTPUT: 'bundle.tar.gz' }, { output: 'bundle.tar.gz' }],
    ['support-bundle --output -', {}, { output: '-' }],
    ['bootstrap', { REGISTRY_TRUST_FOR: 'talos' }, { for: 'talos' }],
    ['plan', { REGISTRY_TRUST_DIFF: 'true' }, { diff: true }],
    ['plan', { REGISTRY_TRUST_WITH_CONTAINERD: '/opt/containerd' }, { withContainerd: '/opt/containerd' }],
    ['publish', { REGISTRY_TRUST_KUBECONFIG: '/k' }, { kubeconfig: '/k' }],
    ['publish', { REGISTRY_TRUST_WATCH: 'true' }, { watch: true }],
    ['status', { REGISTRY_TRUST_ALL: 'true' }, { all: true }],
    ['status --all --watch --namespace n', {}, { all: true, watch: true, namespace: 'n' }],
    ['lint .', { REGISTRY_TRUST_FORMAT: 'sarif' }, { format: 'sarif', operands: ['.'] }],
    ['plan', { REGISTRY_TRUST_LOG_LEVEL: 'error' }, { logLevel: 'error' }],
    ['plan', { REGISTRY_TRUST_LOG_FORMAT: 'json' }, { logFormat: 'json' }],
    ['plan', { REGISTRY_TRUST_ROOT: '', REGISTRY_TRUST_CONFIG: '', REGISTRY_TRUST_JSON: '' }, {}],
    // What Kubernetes sets in every Pod of a namespace with a Service of our name.
    ['plan', { REGISTRY_TRUST_PORT: 'tcp://10.0.0.1:9461', REGISTRY_TRUST_SERVICE_HOST: '10.0.0.1' }, {}],
  ]
  for (const [argv, environment, expected] of table)
    t.strictSame(optionsOf(argv, environment), { ...DEFAULTS, ...expected }, JSON.stringify(environment))
  const tested = new Set(table.flatMap(([, environment]) => Object.keys(environment)))
  for (const name of FLAG_NAMES) t.ok(tested.has(environmentName(name)), name)
})

t.test('wrong usage names the word, and what was probably meant', async (t) => {
  const table: readonly (readonly [string, string])[] = [
    ['paln', 'there is no command "paln"; did you mean plan?'],
    ['destroy', `there is no command "destroy"; the commands are: ${COMMAND_NAMES.join(', ')}`],
    ['probe', 'probe needs HOST[:PORT]; see registry-trust probe --help'],
    ['inspect --json', 'inspect needs FILE; see registry-trust inspect --help'],
    ['plan --password-file x', '--password-file does not apply to plan (it is for: inspect)'],
    ['plan --confg x', 'there is no flag --confg; did you mean --config?'],
    ['plan --no-jsn', 'there is no flag --no-jsn'],
    ['plan -x', 'there is no flag -x'],
    ['status --al', 'there is no flag --al; did you mean --all?'],
    ['status --watch', "--watch belongs to status --all; without it this node's own agent is asked"],
    ['plan --all', '--all does not apply to plan (it is for: status, support-bundle)'],
    ['plan --config', '--config needs a value: --config PATH'],
    ['plan --config=', '--config needs a value: --config PATH'],
    [
      'plan --config --json',
      '--config needs a value, but "--json" follows; if that is the value, write --config=--json',
    ],
    ['plan --json=yes', '--json takes no value; write --no-json to switch it off'],
    ['plan --no-json=x', '--no-json takes no value'],
    ['plan --no-config', 'there is no flag --no-config; did you mean --config?'],
    [
      'plan --config a b',
      '"b" is an unexpected argument of plan; to give several paths, repeat the flag: --config A --config B',
    ],
    [
      'agent --json',
      `--json does not apply to agent (it is for: ${flag('json').commands?.join(', ')}); for JSON logs write --log-format json`,
    ],
    ['plan --token-file x', '--token-file does not apply to plan (it is for: agent)'],
    ['agent --tls-cert-file /c', '--tls-cert-file and --tls-key-file belong together'],
    ['plan --log-level inof', '--log-level must be debug, info, warn or error, got "inof"; did you mean info?'],
    ['plan --log-format xml', '--log-format must be text or json, got "xml"'],
    ['plan --listen 9461', '"9461" is not an address to listen on: write HOST:PORT, :PORT or [IPV6]:PORT'],
    [
      'plan --containerd-address tcp://a:1',
      '"tcp://a:1" is not a socket address: write the absolute path of the socket, such as /run/containerd/containerd.sock',
    ],
    ['help paln', 'there is no command "paln"; did you mean plan?'],
  ]
  for (const [argv, message] of table) t.throws(() => optionsOf(argv), { code: 'USAGE', message }, argv)
})

t.test('a wrong environment variable is named as such', async (t) => {
  t.throws(() => optionsOf('plan', { REGISTRY_TRUST_JSON: 'maybe' }), {
    code: 'USAGE',
    message: 'REGISTRY_TRUST_JSON must be true or false, got "maybe"',
  })
  t.throws(() => optionsOf('plan', { REGISTRY_TRUST_LOG_LEVEL: 'x' }), {
    message: 'REGISTRY_TRUST_LOG_LEVEL must be debug, info, warn or error, got "x"',
  })
})

t.test('help and version are answered before anything else is judged', async (t) => {
  for (const argv of [['--version'], ['-V'], ['plan', '--version']])
    t.strictSame(parseCommandLine(argv, {}), { kind: 'version' })
  for (const argv of [['--help'], ['-h'], ['help']])
    t.match(parseCommandLine(argv, {}), { kind: 'help', exitCode: 0, text: /^registry-trust - / })
  for (const argv of [
    ['plan', '--help'],
    ['help', 'plan'],
    ['plan', '-h', '--log-level', 'nonsense'],
  ]) {
    t.match(parseCommandLine(argv, {}), { kind: 'help', exitCode: 0, text: /^registry-trust plan - / })
  }
})

t.test('no command at all shows the help and is wrong usage', async (t) => {
  t.match(parseCommandLine([], {}), { kind: 'help', exitCode: 64, text: /Commands:/ })
})

t.test('the help names every command and every flag that applies, with its default, in 140 columns', async (t) => {
  const textOf = (argv: string[]): string => {
    const invocation = parseCommandLine(argv, {})
    return invocation.kind === 'help' ? invocation.text : ''
  }
  const general = textOf(['--help'])
  for (const name of COMMAND_NAMES) t.match(general, new RegExp(`^  ${name} +\\S`, 'm'))
  for (const name of FLAG_NAMES) t.ok(general.includes(`${flag(name).help} (default: ${flag(name).default})`), name)
  t.match(textOf(['status', '--help']), /^ +3 {2}not healthy$/m)
  t.notMatch(textOf(['status', '--help']), /--token-file/)
  for (const text of [general, ...COMMAND_NAMES.map((name) => textOf([name, '--help']))]) {
    t.strictSame(
      text.split('\n').filter((line) => line.length > 140),
      [],
    )
  }
})
