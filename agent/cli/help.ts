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
} from './flags.ts'

export function generalHelp(): string {
  const commands = COMMAND_NAMES.map((name) => `  ${name.padEnd(9)} ${COMMANDS[name].summary}`)
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

Every flag can be set in the environment too: --log-level is ${environmentName('log-level')}; a flag given wins.
More on one command: registry-trust COMMAND --help
`
}

const INTRODUCTIONS: { readonly [command in Command]: string } = {
  agent: `Reads trust.yaml, compares it with the node, changes what differs, proves every registry with a test pull and starts over
when a file changes. It serves its state under --listen: / (page), /status, /metrics, /readyz.
Stopping the agent leaves the node as it is.`,
  plan: `Compares trust.yaml with this node and prints each file that would change, why, and whether containerd must be restarted.
Where the node's own containerd can be run, the new configuration is rehearsed on a private copy first. Nothing is written.`,
  apply: `One transaction: plan, rehearse, change, prove. It proves every registry also when there is nothing to change. If a registry
that was trusted, or containerd itself, is worse afterwards, everything is put back.`,
  rollback: `Undoes the last committed change: files, and containerd's configuration with one restart where it was part of it. The daemon
does not apply what was rolled back until trust.yaml changes, or until somebody runs apply.`,
  uninstall: `Makes the node what it was before the agent: removes its files, restores what it edited, keeps later edits of others and says
so. Stop the daemon first, or it does its work again. A valid trust.yaml is not needed.`,
  'cri-proxy': `Listens at --cri-proxy and forwards to containerd only what the agent needs: Version, Status without the configuration, the
images of declared registries, which containers run, and pulls that prove a declared registry. It reads trust.yaml by itself.`,
  restarter: `Listens at --restarter-socket. It restarts only units that run a containerd, a few times an hour, and holds config.toml
while it is changed: if the agent dies or does not come back in 25 s, the old file is put back and containerd restarted.`,
  status: `Asks the agent of this node (at --listen) and prints its state, worst first.`,
}

export function commandHelp(command: Command): string {
  const names = FLAG_NAMES.filter((name) => appliesTo(name, command))
  const exits = COMMANDS[command].exits.map((line) => `  ${line}`)
  return `registry-trust ${command} - ${COMMANDS[command].summary}

Usage: registry-trust ${command} [FLAGS]

${INTRODUCTIONS[command]}

Flags:
${flagLines(names)}

Exit code:
${exits.join('\n')}
  64 wrong usage
`
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
