// Completion for shells, made from the table of commands and flags: a new flag is completed without another word.
import {
  appliesTo,
  COMMAND_NAMES,
  COMMANDS,
  type Command,
  FLAG_NAMES,
  type FlagName,
  flag,
  operandsOf,
} from '../command-line/flags.ts'

export const SHELLS = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof SHELLS)[number]

const MAKERS: { readonly [shell in Shell]: () => string } = { bash, zsh, fish }

/** A script for the shell to source. */
export function completionScript(shell: Shell): string {
  return MAKERS[shell]()
}

/** What a value of the flag is: words to choose from, or a file or folder. */
function valuesOf(name: FlagName): { readonly words: readonly string[]; readonly isPath: boolean } {
  const { choices = [], value = '' } = flag(name)
  return { words: choices, isPath: ['PATH', 'FILE', 'DIR', 'SOCKET'].includes(value) }
}

function flagsOf(command: Command): readonly string[] {
  return FLAG_NAMES.filter((name) => appliesTo(name, command)).map((name) => `--${name}`)
}

function takesValue(name: FlagName): boolean {
  return flag(name).kind !== 'switch'
}

function operandChoices(command: Command): readonly string[] {
  return operandsOf(command)?.choices ?? []
}

function bash(): string {
  const values = FLAG_NAMES.filter(takesValue).map((name) => {
    const { words, isPath } = valuesOf(name)
    const reply = isPath ? 'compgen -f -- "$word"' : `compgen -W '${words.join(' ')}' -- "$word"`
    return `    --${name}) mapfile -t COMPREPLY < <(${reply}); return ;;`
  })
  const commands = COMMAND_NAMES.map((command) => {
    const words = [...flagsOf(command), '--help', ...operandChoices(command)]
    return `    ${command}) words='${words.join(' ')}' ;;`
  })
  return `# bash completion for registry-trust: source <(registry-trust completion bash)
_registry_trust() {
  local word=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD - 1]} command='' each words
  for each in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $each in -*) ;; *) command=$each; break ;; esac
  done
  case $before in
${values.join('\n')}
  esac
  case $command in
${commands.join('\n')}
    *) words='${[...COMMAND_NAMES, 'help', '--help', '--version'].join(' ')}' ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
  # What is no flag may be a file.
  [[ -z $command || $word == -* || \${#COMPREPLY[@]} -gt 0 ]] || mapfile -t COMPREPLY < <(compgen -f -- "$word")
}
complete -o filenames -F _registry_trust registry-trust
`
}

function zsh(): string {
  const described = (text: string) =>
    text.replaceAll(/['[\]:\\]/g, (character) => (character === "'" ? "'\\''" : `\\${character}`))
  const commands = COMMAND_NAMES.map((name) => `    '${name}:${described(COMMANDS[name].summary)}'`)
  const flags = (command: Command) =>
    FLAG_NAMES.filter((name) => appliesTo(name, command)).map((name) => {
      const { words, isPath } = valuesOf(name)
      const action = words.length > 0 ? `(${words.join(' ')})` : isPath ? '_files' : ''
      const repeated = flag(name).kind === 'list' ? '*' : ''
      const value = takesValue(name) ? `:${flag(name).value ?? 'VALUE'}:${action}` : ''
      return `        '${repeated}--${name}[${described(flag(name).help)}]${value}' \\`
    })
  const cases = COMMAND_NAMES.map((command) => {
    const choices = operandChoices(command)
    const rest = choices.length > 0 ? `'*:${command}:(${choices.join(' ')})'` : "'*:file:_files'"
    return `    ${command})\n      _arguments \\\n${flags(command).join('\n')}\n        ${rest} ;;`
  })
  return `#compdef registry-trust
# zsh completion for registry-trust: registry-trust completion zsh > "\${fpath[1]}/_registry-trust"
_registry-trust() {
  local -a commands
  commands=(
${commands.join('\n')}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
${cases.join('\n')}
  esac
}
# As a file of fpath this is the body of the function itself at the first completion; else it is sourced.
if [[ $funcstack[1] == _registry-trust ]]; then
  _registry-trust "$@"
else
  compdef _registry-trust registry-trust
fi
`
}

function fish(): string {
  const quoted = (text: string) => `'${text.replaceAll(/['\\]/g, (character) => `\\${character}`)}'`
  const program = 'complete -c registry-trust'
  const commands = COMMAND_NAMES.map(
    (name) => `${program} -n __fish_use_subcommand -f -a ${name} -d ${quoted(COMMANDS[name].summary)}`,
  )
  const flags = COMMAND_NAMES.flatMap((command) => {
    const seen = `${program} -n '__fish_seen_subcommand_from ${command}'`
    const own = FLAG_NAMES.filter((name) => appliesTo(name, command)).map((name) => {
      const { words, isPath } = valuesOf(name)
      const value = !takesValue(name)
        ? ''
        : isPath
          ? ' -r -F'
          : ` -x${words.length > 0 ? ` -a ${quoted(words.join(' '))}` : ''}`
      return `${seen} -l ${name}${value} -d ${quoted(flag(name).help)}`
    })
    const choices = operandChoices(command)
    return choices.length > 0 ? [...own, `${seen} -f -a ${quoted(choices.join(' '))}`] : own
  })
  return `# fish completion for registry-trust: registry-trust completion fish | source\n${[...commands, ...flags].join('\n')}\n`
}
