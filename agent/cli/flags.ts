// Every command and every flag in one table: parsing, environment variables and help are made from it.

export const COMMANDS = {
  agent: {
    summary: 'run as a daemon: keep this node in the wanted state',
    exits: ['0  ended by SIGTERM', '1  could not start'],
  },
  plan: {
    summary: 'show what would change on this node and why; changes nothing',
    exits: ['0  nothing to change', '2  changes are due', '1  error'],
  },
  apply: {
    summary: 'make the changes, prove them, and roll back if the node is worse',
    exits: [
      '0  every declared registry is proved',
      '1  error or refused: nothing was changed',
      '3  applied, not every registry is proved',
      '4  rolled back: the node is as before',
      '5  the rollback is incomplete: look at the node',
      '6  a restart of containerd is due but not allowed now',
    ],
  },
  status: {
    summary: 'show the state of this node, asked from the running agent',
    exits: ['0  healthy', '3  not healthy', '1  the agent does not answer'],
  },
  rollback: {
    summary: 'go back to the last committed state before the current one',
    exits: [
      '0  gone back',
      '1  error, or nothing to go back to',
      '4  containerd did not take it: everything is as it was',
      '5  that is incomplete: look at the node',
      '6  a restart of containerd is needed but not allowed now',
    ],
  },
  uninstall: {
    summary: 'remove what the agent owns, restore what it edited',
    exits: [
      '0  the node is as before the agent',
      '1  error or refused: nothing was changed',
      '4  rolled back: nothing was removed',
      '5  the rollback is incomplete: look at the node',
      '6  done, but containerd was not restarted: it still runs with the old config_path',
    ],
  },
  'cri-proxy': {
    summary: 'sidecar: show the agent a small part of containerd over a socket',
    exits: ['0  ended by SIGTERM', '1  could not start'],
  },
  restarter: {
    summary: 'sidecar: restart containerd for the agent, and take a bad change back if the agent dies',
    exits: ['0  ended by SIGTERM', '1  could not start'],
  },
} as const satisfies { readonly [name: string]: { readonly summary: string; readonly exits: readonly string[] } }

export type Command = keyof typeof COMMANDS
export const COMMAND_NAMES = Object.keys(COMMANDS) as readonly Command[]

/** Commands that are planned: naming one is answered with a plain word, not with "unknown command". */
export const LATER_COMMANDS: readonly string[] = ['probe', 'explain', 'doctor', 'inspect', 'migrate', 'publish', 'lint']

export type Flag = {
  /** text: the last one counts; list: may be repeated; switch: takes no value, `--no-NAME` switches it off. */
  readonly kind: 'text' | 'list' | 'switch'
  /** What stands for the value in the help. */
  readonly value?: string
  readonly choices?: readonly string[]
  readonly default: string
  readonly help: string
  /** Absent: every command. Given elsewhere it is an error, save in the environment, which all commands share. */
  readonly commands?: readonly Command[]
}

export const FLAGS = {
  config: {
    kind: 'list',
    value: 'PATH',
    default: '/etc/registry-trust',
    help: 'trust.yaml, or a folder that holds it; may be repeated',
  },
  root: { kind: 'text', value: 'DIR', default: '/', help: "where the node's file system is (/host in the DaemonSet)" },
  'containerd-address': { kind: 'text', value: 'SOCKET', default: 'found', help: "containerd's socket; none: files alone, proved by rehearsal" },
  'cri-proxy': {
    kind: 'text',
    value: 'SOCKET',
    default: 'none; as a sidecar /run/registry-trust/cri.sock',
    help: "socket of the cri-proxy sidecar, in place of containerd's own",
    commands: ['agent', 'plan', 'apply', 'rollback', 'uninstall', 'cri-proxy'],
  },
  'restarter-socket': {
    kind: 'text',
    value: 'SOCKET',
    default: 'none; as a sidecar /run/registry-trust/restarter.sock',
    help: 'socket of the restarter sidecar, in place of D-Bus',
    commands: ['agent', 'plan', 'apply', 'rollback', 'uninstall', 'restarter'],
  },
  'state-dir': {
    kind: 'text',
    value: 'DIR',
    default: '/var/lib/registry-trust',
    help: 'what the agent remembers: ownership, backups, audit',
  },
  listen: {
    kind: 'text',
    value: 'HOST:PORT',
    default: ':9461',
    help: 'where the agent answers HTTP; status asks there',
  },
  'node-name': { kind: 'text', value: 'NAME', default: 'the host name', help: 'name of this node in status and logs' },
  'token-file': {
    kind: 'text',
    value: 'FILE',
    default: 'none',
    help: 'bearer token for POST /reconcile and /prove; none: both are refused',
    commands: ['agent'],
  },
  'consent-unrehearsed': {
    kind: 'switch',
    default: 'off',
    help: 'allow a restart of containerd also where the new config could not be rehearsed',
    commands: ['agent', 'plan', 'apply', 'uninstall'],
  },
  json: {
    kind: 'switch',
    default: 'off',
    help: 'answer as JSON on standard output',
    commands: ['plan', 'apply', 'status', 'rollback', 'uninstall'],
  },
  'log-level': {
    kind: 'text',
    value: 'LEVEL',
    choices: ['debug', 'info', 'warn', 'error'],
    default: 'info',
    help: 'debug, info, warn or error',
  },
  'log-format': {
    kind: 'text',
    value: 'FORMAT',
    choices: ['text', 'json'],
    default: 'json for agent, else text',
    help: 'text or json, on standard error',
  },
} as const satisfies { readonly [name: string]: Flag }

export type FlagName = keyof typeof FLAGS
export const FLAG_NAMES = Object.keys(FLAGS) as readonly FlagName[]

/** The same table without the literal types, for code that walks over it. */
export function flag(name: FlagName): Flag {
  return FLAGS[name]
}

export function isFlagName(name: string): name is FlagName {
  return Object.hasOwn(FLAGS, name)
}

export function isCommand(name: string): name is Command {
  return Object.hasOwn(COMMANDS, name)
}

export function environmentName(name: FlagName): string {
  return `REGISTRY_TRUST_${name.toUpperCase().replaceAll('-', '_')}`
}

export function appliesTo(name: FlagName, command: Command): boolean {
  return flag(name).commands?.includes(command) ?? true
}
