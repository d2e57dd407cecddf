// The command line as a value: a pure function of argv and the environment. A flag wins over its environment variable.
// Wrong usage is an AgentError USAGE (exit 64) that names the word and, where there is one, what was probably meant.
import { parseArgs } from 'node:util'
import { parseAddress } from '../../http/address.ts'
import { AgentError } from '../../model/errors.ts'
import { NO_RUNTIME } from '../../model/observed-state.ts'
import { nearest } from '../../text/did-you-mean.ts'
import {
  appliesTo,
  COMMAND_NAMES,
  type Command,
  environmentName,
  FLAG_NAMES,
  FLAGS,
  type FlagName,
  flag,
  isCommand,
  isFlagName,
  type Operands,
  operandsOf,
} from './flags.ts'
import { commandHelp, generalHelp } from './help.ts'

const EXIT_USAGE = 64

export type Options = {
  /** Words after the command, e.g. the image of `explain`. */
  readonly operands: readonly string[]
  readonly config: readonly string[]
  readonly root: string
  /** Absolute path of the socket on the node, without `unix://`. */
  readonly containerdAddress?: string
  readonly stateDir: string
  /** Sockets of the sidecars; as for a sidecar itself: where it listens. */
  readonly criProxy?: string
  readonly restarterSocket?: string
  readonly listen: string
  readonly nodeName?: string
  readonly nodeLabels?: string
  readonly tokenFile?: string
  readonly healthListen?: string
  readonly tlsCertFile?: string
  readonly tlsKeyFile?: string
  readonly fleet?: string
  readonly consentUnrehearsed: boolean
  readonly allowOrphan: boolean
  readonly passwordFile?: string
  /** Of `lint`. */
  readonly format?: 'text' | 'json' | 'sarif'
  /** Of `bootstrap`. */
  readonly for?: (typeof FLAGS)['for']['choices'][number]
  readonly json: boolean
  readonly diff: boolean
  /** Of `plan`: path of another containerd's program on the node. */
  readonly withContainerd?: string
  /** Of `support-bundle`; `-`: standard output. */
  readonly output?: string
  readonly kubeconfig?: string
  readonly namespace?: string
  readonly watch: boolean
  /** Of `status`: every node, not this one. */
  readonly all: boolean
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error'
  readonly logFormat: 'text' | 'json'
}

export type Invocation =
  | { readonly kind: 'run'; readonly command: Command; readonly options: Options }
  /** `exitCode` is 64 when help is shown because no command was given. */
  | { readonly kind: 'help'; readonly text: string; readonly exitCode: number }
  | { readonly kind: 'version' }

export type Environment = { readonly [name: string]: string | undefined }

/** `argv` without the program: `process.argv.slice(2)`. Throws AgentError USAGE. */
export function parseCommandLine(argv: readonly string[], environment: Environment): Invocation {
  const { positionals, given, wantsHelp, wantsVersion } = tokenize(argv)
  if (wantsVersion) return { kind: 'version' }
  const [first, second, ...more] = positionals
  if (wantsHelp || first === 'help') return helpOn(first === 'help' ? second : first)
  if (first === undefined) return { kind: 'help', text: generalHelp(), exitCode: EXIT_USAGE }
  const command = readCommand(first)
  const operands = readOperands(command, second === undefined ? [] : [second, ...more])
  for (const name of given.keys()) {
    if (!appliesTo(name, command)) throw usage(notForCommand(name, command))
  }
  const options = readOptions(command, given, environment)
  const ofAll = (['kubeconfig', 'namespace', 'watch'] as const).find((name) => given.has(name))
  if ((command === 'status' || command === 'support-bundle') && !options.all && ofAll !== undefined)
    throw usage(`--${ofAll} belongs to ${command} --all; without it this node's own agent is asked`)
  return { kind: 'run', command, options: { ...options, operands } }
}

const NO_OPERANDS: Operands = { value: '', atLeast: 0, atMost: 0 }

function readOperands(command: Command, words: readonly string[]): readonly string[] {
  const allowed = operandsOf(command) ?? NO_OPERANDS
  if (words.length < allowed.atLeast)
    throw usage(`${command} needs ${allowed.value}; see registry-trust ${command} --help`)
  const extra = words[allowed.atMost]
  const unknown = words.find((word) => allowed.choices?.includes(word) === false)
  if (unknown !== undefined) throw usage(`"${unknown}" is not one of ${allowed.choices?.join(', ')}`)
  if (extra === undefined) return words
  throw usage(
    `"${extra}" is an unexpected argument of ${command}; to give several paths, repeat the flag: --config A --config B`,
  )
}

type Given = ReadonlyMap<FlagName, readonly string[]>

type Tokens = {
  readonly positionals: readonly string[]
  readonly given: Given
  readonly wantsHelp: boolean
  readonly wantsVersion: boolean
}

const PARSER_OPTIONS = {
  ...Object.fromEntries(
    FLAG_NAMES.map((name) => [name, { type: flag(name).kind === 'switch' ? 'boolean' : 'string' } as const]),
  ),
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean', short: 'V' },
} as const

/** Not strict: parseArgs finds the words, the errors are written here, where a "did you mean" is possible. */
function tokenize(argv: readonly string[]): Tokens {
  const { tokens } = parseArgs({
    args: [...argv],
    options: PARSER_OPTIONS,
    strict: false,
    allowPositionals: true,
    tokens: true,
  })
  const positionals: string[] = []
  const given = new Map<FlagName, string[]>()
  let wantsHelp = false
  let wantsVersion = false
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value)
    if (token.kind !== 'option') continue
    if (token.name === 'help') wantsHelp = true
    else if (token.name === 'version') wantsVersion = true
    else {
      const [name, value] = readFlag(token.name, token.rawName, token.value, token.inlineValue === true)
      given.set(name, [...(given.get(name) ?? []), value])
    }
  }
  return { positionals, given, wantsHelp, wantsVersion }
}

function readFlag(
  typed: string,
  raw: string,
  value: string | undefined,
  isInline: boolean,
): readonly [FlagName, string] {
  const negated = typed.startsWith('no-') ? typed.slice(3) : ''
  if (isFlagName(negated) && flag(negated).kind === 'switch') {
    if (value !== undefined) throw usage(`${raw} takes no value`)
    return [negated, 'false']
  }
  if (!isFlagName(typed)) throw usage(unknownFlag(typed, raw))
  if (flag(typed).kind === 'switch') {
    if (isInline) throw usage(`${raw} takes no value; write --no-${typed} to switch it off`)
    return [typed, 'true']
  }
  if (value === undefined || value === '') throw usage(`${raw} needs a value: ${raw} ${flag(typed).value ?? 'VALUE'}`)
  if (!isInline && value.startsWith('-') && value !== '-')
    throw usage(`${raw} needs a value, but "${value}" follows; if that is the value, write ${raw}=${value}`)
  return [typed, value]
}

function unknownFlag(typed: string, raw: string): string {
  const meant = nearest(typed, [...FLAG_NAMES, 'help', 'version'])
  return `there is no flag ${raw}${meant === undefined ? '' : `; did you mean --${meant}?`}`
}

function notForCommand(name: FlagName, command: Command): string {
  const others = flag(name).commands?.join(', ') ?? ''
  const hint = name === 'json' && command === 'agent' ? '; for JSON logs write --log-format json' : ''
  return `--${name} does not apply to ${command} (it is for: ${others})${hint}`
}

function readCommand(word: string): Command {
  if (isCommand(word)) return word
  const meant = nearest(word, COMMAND_NAMES)
  const hint = meant === undefined ? `the commands are: ${COMMAND_NAMES.join(', ')}` : `did you mean ${meant}?`
  throw usage(`there is no command "${word}"; ${hint}`)
}

function helpOn(word: string | undefined): Invocation {
  const text = word === undefined ? generalHelp() : commandHelp(readCommand(word))
  return { kind: 'help', text, exitCode: 0 }
}

function readOptions(command: Command, given: Given, environment: Environment): Omit<Options, 'operands'> {
  const source: Source = { given, environment }
  const containerdAddress = last(source, 'containerd-address')
  const nodeName = last(source, 'node-name')
  const nodeLabels = last(source, 'node-labels')
  const kubeconfig = last(source, 'kubeconfig')
  const criProxy = last(source, 'cri-proxy')
  const restarterSocket = last(source, 'restarter-socket')
  const tokenFile = last(source, 'token-file')
  const namespace = last(source, 'namespace')
  const fleet = last(source, 'fleet')
  const passwordFile = last(source, 'password-file')
  const output = last(source, 'output')
  const listen = last(source, 'listen') ?? (command === 'fleet' ? ':9462' : ':9461')
  const target = readChoice(source, 'for', FLAGS.for.choices)
  const withContainerd = last(source, 'with-containerd')
  const format = readChoice(source, 'format', FLAGS.format.choices)
  parseAddress(listen)
  const healthListen = last(source, 'health-listen')
  if (healthListen !== undefined) parseAddress(healthListen)
  const [tlsCertFile, tlsKeyFile] = [last(source, 'tls-cert-file'), last(source, 'tls-key-file')]
  if (command === 'agent' && (tlsCertFile === undefined) !== (tlsKeyFile === undefined))
    throw new AgentError('USAGE', '--tls-cert-file and --tls-key-file belong together')
  return {
    config: readList(source, 'config'),
    root: last(source, 'root') ?? flag('root').default,
    ...(containerdAddress !== undefined && { containerdAddress: readSocket(containerdAddress) }),
    stateDir: last(source, 'state-dir') ?? flag('state-dir').default,
    listen,
    ...(criProxy !== undefined && { criProxy: readSocket(criProxy) }),
    ...(restarterSocket !== undefined && { restarterSocket: readSocket(restarterSocket) }),
    ...(nodeName !== undefined && { nodeName }),
    ...(nodeLabels !== undefined && { nodeLabels }),
    ...(tokenFile !== undefined && { tokenFile }),
    ...(namespace !== undefined && { namespace }),
    ...(healthListen !== undefined && { healthListen }),
    ...(tlsCertFile !== undefined && { tlsCertFile }),
    ...(tlsKeyFile !== undefined && { tlsKeyFile }),
    ...(fleet !== undefined && { fleet }),
    ...(passwordFile !== undefined && { passwordFile }),
    ...(output !== undefined && { output }),
    ...(format !== undefined && { format }),
    ...(target !== undefined && { for: target }),
    consentUnrehearsed: readSwitch(source, 'consent-unrehearsed'),
    allowOrphan: readSwitch(source, 'allow-orphan'),
    json: readSwitch(source, 'json'),
    diff: readSwitch(source, 'diff'),
    ...(withContainerd !== undefined && { withContainerd }),
    ...(kubeconfig !== undefined && { kubeconfig }),
    watch: readSwitch(source, 'watch'),
    all: (command === 'status' || command === 'support-bundle') && readSwitch(source, 'all'),
    logLevel: readChoice(source, 'log-level', FLAGS['log-level'].choices) ?? 'info',
    logFormat:
      readChoice(source, 'log-format', FLAGS['log-format'].choices) ?? (DAEMONS.includes(command) ? 'json' : 'text'),
  }
}

/** They run for long and write for machines. */
const DAEMONS: readonly Command[] = ['agent', 'cri-proxy', 'restarter', 'sidecar', 'fleet']

type Source = { readonly given: Given; readonly environment: Environment }

/** The value and the name under which it was given, for messages. An empty variable counts as not set. */
function last(source: Source, name: FlagName): string | undefined {
  const fromFlag = source.given.get(name)?.at(-1)
  if (fromFlag !== undefined) return fromFlag
  const fromEnvironment = source.environment[environmentName(name)]
  return fromEnvironment === '' ? undefined : fromEnvironment
}

function origin(source: Source, name: FlagName): string {
  return source.given.has(name) ? `--${name}` : environmentName(name)
}

/** In the environment the paths are separated by colons, as in PATH. */
function readList(source: Source, name: FlagName): readonly string[] {
  const fromFlag = source.given.get(name)
  if (fromFlag !== undefined) return fromFlag
  const paths = (source.environment[environmentName(name)] ?? '').split(':').filter((path) => path !== '')
  return paths.length > 0 ? paths : [flag(name).default]
}

const TRUE: readonly string[] = ['true', '1', 'yes', 'on']
const FALSE: readonly string[] = ['false', '0', 'no', 'off']

function readSwitch(source: Source, name: FlagName): boolean {
  const value = last(source, name)?.toLowerCase()
  if (value === undefined || FALSE.includes(value)) return false
  if (TRUE.includes(value)) return true
  throw usage(`${origin(source, name)} must be true or false, got "${value}"`)
}

function readChoice<Choice extends string>(
  source: Source,
  name: FlagName,
  choices: readonly Choice[],
): Choice | undefined {
  const value = last(source, name)
  if (value === undefined) return undefined
  const choice = choices.find((candidate) => candidate === value)
  if (choice !== undefined) return choice
  const meant = nearest(value, choices)
  const hint = meant === undefined ? '' : `; did you mean ${meant}?`
  throw usage(
    `${origin(source, name)} must be ${choices.join(', ').replace(/, ([^,]*)$/, ' or $1')}, got "${value}"${hint}`,
  )
}

/** `none`: the agent is to leave the runtime alone (profile hosts). */
function readSocket(address: string): string {
  if (address === NO_RUNTIME) return address
  const path = address.replace(/^unix:(\/\/)?/, '')
  if (!path.startsWith('/')) {
    throw usage(
      `"${address}" is not a socket address: write the absolute path of the socket, such as /run/containerd/containerd.sock`,
    )
  }
  return path
}

function usage(message: string): AgentError {
  return new AgentError('USAGE', message)
}
