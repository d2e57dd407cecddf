// The help texts, made from the table of flags and commands.
import {
  appliesTo,
  COMMAND_NAMES,
  COMMANDS,
  type Command,
  environmentName,
  FLAG_NAMES,
  type FlagName,
  flag,
  operandsOf,
} from './flags.ts'

export function generalHelp(): string {
  const width = Math.max(...COMMAND_NAMES.map((name) => name.length))
  const commands = COMMAND_NAMES.map((name) => `  ${name.padEnd(width)}  ${COMMANDS[name].summary}`)
  return `registry-trust - makes this node trust private registries, proves it with a test pull, and never makes the node worse

Usage: registry-trust COMMAND [FLAGS]

Commands:
${commands.join('\n')}

Try it (changes nothing):
  registry-trust plan --config trust.yaml

The smallest trust.yaml:
  registries:
    - host: harbor.example.net
      ca: corp-root.pem

Flags:
${flagLines(FLAG_NAMES)}

Every flag can be set in the environment too: --log-level is ${environmentName('log-level')}; a flag on the command line wins.
More on one command: registry-trust COMMAND --help
`
}

const INTRODUCTIONS: { readonly [command in Command]: string } = {
  agent: `Reads trust.yaml, compares it with the node, changes what differs, proves every registry with a test pull and starts over
when a file changes. It serves its state at --listen: / (page), /status, /metrics, /readyz.
Stopping the agent leaves the node as it is.`,
  plan: `Compares trust.yaml with this node and prints each file that would change, why, and whether containerd must be restarted.
Where the node's own containerd can be run, the new configuration is rehearsed on a private copy first. Nothing is written.`,
  apply: `One transaction: plan, rehearse, change, prove. It proves every registry also when there is nothing to change. If a registry
that was trusted, or containerd itself, is worse afterwards, everything is put back.`,
  rollback: `Undoes the last committed change: files, and, if that was part of it, containerd's configuration with one restart. The daemon
does not apply what was rolled back until trust.yaml changes, or until somebody runs apply.`,
  uninstall: `Makes the node what it was before the agent: removes its files, restores what it edited, keeps later edits by others and
reports them. Stop the daemon first, or it will set up the node again. A valid trust.yaml is not needed.`,
  'cri-proxy': `Listens at --cri-proxy and forwards to containerd only what the agent needs: Version, Status without the configuration, the
images of declared registries, which containers run, and pulls that prove a declared registry. It reads trust.yaml by itself.`,
  restarter: `Listens at --restarter-socket. It restarts only units that run a containerd, at most a few times an hour, and only as recorded
in the state folder. If the agent dies in the middle of a restart, it finishes it or puts the old config.toml back.`,
  sidecar: `Does what cri-proxy and restarter do, each at its socket, in one process: profile full needs both, and one process takes half the memory.`,
  probe: `Makes a TLS handshake with the registry from this node and judges its certificates as containerd would: with the declared anchors
(for a registry that is not declared: all of them) and the node's own trust store. Works without containerd and trust.yaml;
sends no credentials. Follows the token service and redirects too, because a pull needs them as well.`,
  inspect: `Recognises PEM, DER, base64 (once or twice), PKCS#7, PKCS#12, JKS and JCEKS by their content, never by the file's name, and prints every
certificate with whether it can serve as an anchor and what to know about it. A private key is never read and never shown.`,
  publish: `Writes the anchors to ConfigMaps by server-side apply, Tekton's config-registry-cert among them, and restarts the Deployments named
when they may have read something else. For programs that do not use the node's trust: controllers and build Pods. With --watch
it keeps them up to date.`,
  fleet: `One of these runs in the cluster, as a Deployment. It tells every agent about a change of the ConfigMap at once, polls the
agents' state and, where restart.permit is fleet, lets nodes restart containerd in waves and stops at the first failure. It
serves the fleet at --listen: / (page), /fleet, /metrics, /readyz. Without it each node works on its own.`,
  lint: `Reads files and folders and prints each flag or setting that switches verification off (--tls-verify=false, --skip-tls-verify,
insecure_skip_verify, -k …) with the one that keeps it on. A line with "registry-trust: ignore" is skipped.`,
  explain: `Shows where containerd looks for this image's registry, which hosts.toml it reads, which servers it asks in which order and what it
trusts for each. Then it pulls the image and says where that fails.`,
  doctor: `Looks at the configuration, containerd's config.toml, its host directories and environment, the restart, the sandbox image and
each declared registry, and prints what is wrong and what to do about it, including files that containerd silently ignores.`,
  'support-bundle': `Collects status, plan, doctor, versions, the configuration as read, containerd's config.toml and host directories, unit
facts, the newest log and audit lines, prints the list of contents, and writes one .tar.gz. Files are parsed, never copied: secrets
are removed, and what cannot be parsed is left out. It changes nothing on the node. In a Pod: --output - > FILE.
With --all it runs anywhere and reads through the API server: the fleet's report, Pods, DaemonSets and Events.`,
  migrate: `Moves registry.mirrors and registry.configs of config.toml into hosts.toml files that behave the same on this containerd, and
sets config_path, in one transaction with one restart. What cannot be expressed is refused before anything is written.`,
  completion: `Prints a script to source, e.g. in ~/.bashrc: source <(registry-trust completion bash)`,
  bootstrap: `Prints the CA files and host directories of trust.yaml in the format of the tool that sets up the node, so that the node trusts
the registries before the agent's own image is pulled. The agent then finds nothing to do. It reads only trust.yaml; notes go
to standard error.`,
  man: `Prints the manual page as roff. Packages put it at /usr/share/man/man8/registry-trust.8.`,
  status: `Asks the agent of this node (at --listen) and prints its state, worst first. With --all it runs anywhere: it asks the fleet
component through the API server's proxy and prints every node of the cluster, worst first, and the progress of a roll-out.`,
}

/** What the command does, in a few lines of at most 130 characters. */
export function introductionOf(command: Command): string {
  return INTRODUCTIONS[command]
}

export function commandHelp(command: Command): string {
  const names = FLAG_NAMES.filter((name) => appliesTo(name, command))
  const exits = COMMANDS[command].exits.map((line) => `  ${line}`)
  return `registry-trust ${command} - ${COMMANDS[command].summary}

Usage: registry-trust ${command} [FLAGS]${operandText(command)}

${INTRODUCTIONS[command]}

Flags:
${flagLines(names)}

Exit code:
${exits.join('\n')}
  64 wrong usage
`
}

function operandText(command: Command): string {
  const operands = operandsOf(command)
  if (operands === undefined) return ''
  return ` ${operands.value}${operands.atMost > 1 ? '…' : ''}`
}

function flagLines(names: readonly FlagName[]): string {
  const lines: (readonly [string, string])[] = names.map((name) => {
    const { value, help, default: fallback } = flag(name)
    return [`--${name}${value === undefined ? '' : ` ${value}`}`, `${help} (default: ${fallback})`]
  })
  lines.push(['-h, --help', 'this text'], ['-V, --version', 'the version'])
  const width = Math.max(...lines.map(([left]) => left.length))
  return lines.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`).join('\n')
}
