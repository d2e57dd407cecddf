// Every command and every flag in one table: parsing, environment variables and help are made from it.

export type Operands = {
  readonly value: string
  readonly atLeast: number
  readonly atMost: number
  /** Absent: any word. */
  readonly choices?: readonly string[]
}

type CommandEntry = {
  readonly summary: string
  readonly exits: readonly string[]
  /** Words that follow the command; absent: none. */
  readonly operands?: Operands
}

export const COMMANDS = {
  agent: {
    summary: 'run as a daemon: keep this node in the desired state',
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
      '5  the rollback is incomplete: check the node',
      '6  a restart of containerd is due but not allowed now',
    ],
  },
  status: {
    summary: 'show the state of this node as the running agent reports it; --all: of every node of the cluster',
    exits: ['0  healthy', '3  not healthy', '1  no answer'],
  },
  rollback: {
    summary: 'go back to the last committed state before the current one',
    exits: [
      '0  the earlier state is restored',
      '1  error, or nothing to go back to',
      '4  containerd did not accept it: the node is as before',
      '5  the rollback is incomplete: check the node',
      '6  a restart of containerd is needed but not allowed now',
    ],
  },
  uninstall: {
    summary: 'remove what the agent owns, restore what it edited',
    exits: [
      '0  the node is as before the agent',
      '1  error or refused: nothing was changed',
      '4  rolled back: nothing was removed',
      '5  the rollback is incomplete: check the node',
      '6  done, but containerd was not restarted: it still runs with the old config_path',
    ],
  },
  probe: {
    summary: 'look at the certificates a registry serves, and say what verifies them or what is missing',
    operands: { value: 'HOST[:PORT]', atLeast: 1, atMost: 1 },
    exits: ['0  trusted', '3  not trusted, or another host that a pull needs is not', '1  error'],
  },
  inspect: {
    summary: 'show what a CA file contains',
    operands: { value: 'FILE', atLeast: 1, atMost: 100 },
    exits: ['0  every file holds something that can be used as an anchor', '1  one of them does not'],
  },
  publish: {
    summary: 'write the anchors to the ConfigMaps of the cluster that the section publish names',
    exits: ['0  all of them are right', '1  one of them is not, or an error'],
  },
  fleet: {
    summary: 'see every node of the cluster, spread changes, roll restarts out in waves; `fleet resume` after a halt',
    operands: { value: '[resume]', atLeast: 0, atMost: 1 },
    exits: ['0  ended by SIGTERM, or resumed', '1  could not start'],
  },
  lint: {
    summary: 'find what switches certificate verification off in manifests and configs, and say what to write instead',
    operands: { value: 'PATH', atLeast: 1, atMost: 1000 },
    exits: ['0  nothing found', '3  something found', '1  error'],
  },
  explain: {
    summary: 'show what a pull of an image uses on this node, in order, and where it fails',
    operands: { value: 'IMAGE', atLeast: 1, atMost: 1 },
    exits: ['0  the image can be pulled', '3  it cannot', '1  error'],
  },
  doctor: {
    summary: 'look for everything that is wrong on this node, worst first',
    exits: ['0  nothing is wrong', '3  something is', '1  error'],
  },
  'support-bundle': {
    summary:
      'write one .tar.gz with what a maintainer asks for about this node, without secrets; --all: about the fleet',
    exits: ['0  written; the list says which parts are missing', '1  error: nothing was written'],
  },
  migrate: {
    summary: 'turn legacy registry sections of config.toml into hosts.toml files that behave the same',
    exits: [
      '0  migrated, or nothing to migrate',
      '1  error or refused: nothing was changed',
      '3  migrated, not every declared registry is proved',
      '4  rolled back: the node is as before',
      '5  the rollback is incomplete: check the node',
      '6  a restart of containerd is needed but not allowed now',
    ],
  },
  'cri-proxy': {
    summary: 'sidecar: give the agent a small part of containerd over a socket',
    exits: ['0  ended by SIGTERM', '1  could not start'],
  },
  restarter: {
    summary: 'sidecar: restart containerd for the agent, and undo a bad change if the agent dies',
    exits: ['0  ended by SIGTERM', '1  could not start'],
  },
  sidecar: {
    summary: 'sidecar: cri-proxy and restarter in one process',
    exits: ['0  ended by SIGTERM', '1  could not start'],
  },
  bootstrap: {
    summary:
      'print what makes a node trust the registries before any image is pulled, for the tool that sets up the node',
    exits: ['0  printed', '1  error'],
  },
  completion: {
    summary: 'print a script that completes commands and flags in a shell',
    operands: { value: 'bash|zsh|fish', atLeast: 1, atMost: 1, choices: ['bash', 'zsh', 'fish'] },
    exits: ['0  printed'],
  },
  man: {
    summary: 'print the manual page: registry-trust man | man -l -',
    exits: ['0  printed'],
  },
} as const satisfies { readonly [name: string]: CommandEntry }

export type Command = keyof typeof COMMANDS
export const COMMAND_NAMES = Object.keys(COMMANDS) as readonly Command[]

export function operandsOf(command: Command): Operands | undefined {
  const entry: CommandEntry = COMMANDS[command]
  return entry.operands
}

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
  'containerd-address': {
    kind: 'text',
    value: 'SOCKET',
    default: 'found',
    help: 'socket of containerd or CRI-O; none: only files, proved by rehearsal',
  },
  'cri-proxy': {
    kind: 'text',
    value: 'SOCKET',
    default: 'none; as a sidecar /run/registry-trust/cri.sock',
    help: "the sidecar's socket, in place of containerd's own",
    commands: ['agent', 'plan', 'apply', 'rollback', 'uninstall', 'cri-proxy', 'sidecar', 'support-bundle'],
  },
  'restarter-socket': {
    kind: 'text',
    value: 'SOCKET',
    default: 'none; as a sidecar /run/registry-trust/restarter.sock',
    help: "the sidecar's socket, in place of D-Bus",
    commands: ['agent', 'plan', 'apply', 'rollback', 'uninstall', 'restarter', 'sidecar', 'support-bundle'],
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
    default: ':9461; of fleet :9462',
    help: 'where the agent serves HTTP; status asks there',
  },
  'health-listen': {
    kind: 'text',
    value: 'HOST:PORT',
    default: 'none',
    help: 'a second address that serves only /livez, /readyz and /healthz, over plain HTTP',
    commands: ['agent'],
  },
  'tls-cert-file': {
    kind: 'text',
    value: 'FILE',
    default: 'none',
    help: 'serve HTTPS with this PEM file, read again when it changes; status and fleet trust it',
    commands: ['agent', 'status', 'fleet', 'support-bundle'],
  },
  'tls-key-file': {
    kind: 'text',
    value: 'FILE',
    default: 'none',
    help: 'private key of --tls-cert-file (PEM)',
    commands: ['agent'],
  },
  'node-name': { kind: 'text', value: 'NAME', default: 'the host name', help: 'name of this node in status and logs' },
  'node-labels': {
    kind: 'text',
    value: 'FILE',
    default: 'none',
    help: 'labels of this node for `when`, one KEY="VALUE" a line, as the downward API writes them',
    commands: ['agent', 'plan', 'apply', 'doctor', 'explain', 'migrate', 'support-bundle'],
  },
  fleet: {
    kind: 'text',
    value: 'DIR',
    default: 'none',
    help: 'where the Pod mounts the note of the fleet component, beside the keys of the ConfigMap',
    commands: ['agent', 'cri-proxy', 'sidecar'],
  },
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
    help: 'allow a restart of containerd even if the new config could not be rehearsed',
    commands: ['agent', 'plan', 'apply', 'uninstall', 'migrate'],
  },
  'allow-orphan': {
    kind: 'switch',
    default: 'off',
    help: 'replace the anchors of a registry even if the new ones do not verify what it serves now',
    commands: ['apply'],
  },
  format: {
    kind: 'text',
    value: 'FORMAT',
    choices: ['text', 'json', 'sarif'],
    default: 'text',
    help: 'text, json, or sarif for code scanning',
    commands: ['lint'],
  },
  for: {
    kind: 'text',
    value: 'FORMAT',
    choices: ['cloud-init', 'ignition', 'nodeadm', 'karpenter', 'capi', 'talos', 'bottlerocket', 'gke', 'aks'],
    default: 'cloud-init',
    help: 'format of the tool that sets up the node',
    commands: ['bootstrap'],
  },
  'password-file': {
    kind: 'text',
    value: 'FILE',
    default: 'none',
    help: 'first line: the password of a PKCS#12 store or a Java keystore',
    commands: ['inspect'],
  },
  kubeconfig: {
    kind: 'text',
    value: 'FILE',
    default: 'the service account of the Pod; with --all as kubectl finds it',
    help: 'how to reach the API server',
    commands: ['publish', 'fleet', 'status', 'support-bundle'],
  },
  namespace: {
    kind: 'text',
    value: 'NAME',
    default: 'that of the Pod, else registry-trust',
    help: 'where the agents run',
    commands: ['fleet', 'status', 'support-bundle'],
  },
  all: {
    kind: 'switch',
    default: 'off',
    help: 'every node of the cluster, as the fleet component reports it through the API server',
    commands: ['status', 'support-bundle'],
  },
  watch: {
    kind: 'switch',
    default: 'off',
    help: 'keep running; publish: as the only holder of the Lease registry-trust-publish',
    commands: ['publish', 'status'],
  },
  'with-containerd': {
    kind: 'text',
    value: 'FILE',
    default: 'none',
    help: 'test this containerd (a path on the node) with the files of this node',
    commands: ['plan'],
  },
  diff: {
    kind: 'switch',
    default: 'off',
    help: 'also show each text file that would change, as a unified diff without secrets',
    commands: ['plan'],
  },
  output: {
    kind: 'text',
    value: 'FILE',
    default: 'a new file here',
    help: 'a file that does not exist yet, for the archive; -: standard output',
    commands: ['support-bundle'],
  },
  json: {
    kind: 'switch',
    default: 'off',
    help: 'answer as JSON on standard output',
    commands: [
      'plan',
      'apply',
      'status',
      'probe',
      'inspect',
      'lint',
      'explain',
      'publish',
      'doctor',
      'migrate',
      'rollback',
      'uninstall',
    ],
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
