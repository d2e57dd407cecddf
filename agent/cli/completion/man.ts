// The manual page, made from the same tables as the help: man(7).
import { COMMAND_NAMES, COMMANDS, environmentName, FLAG_NAMES, flag, operandsOf } from '../command-line/flags.ts'
import { introductionOf } from '../command-line/help.ts'

/** The page as roff, for section 8. It holds no date: two builds of one version are the same. */
export function manPage(version: string): string {
  const commands = COMMAND_NAMES.flatMap((name) => {
    const operands = operandsOf(name)
    const exits = COMMANDS[name].exits.map((line) => `.br\n${escaped(line)}`)
    return [
      '.TP',
      `.B ${escaped(name)}${operands === undefined ? '' : ` \\fI${escaped(operands.value)}\\fR`}`,
      escaped(introductionOf(name)),
      '.sp',
      `Exit code:`,
      ...exits,
    ]
  })
  const flags = FLAG_NAMES.flatMap((name) => {
    const { value, help, default: fallback } = flag(name)
    const head = `.B ${escaped(`--${name}`)}${value === undefined ? '' : ` \\fI${escaped(value)}\\fR`}`
    return ['.TP', head, escaped(`${help} (default: ${fallback}; environment: ${environmentName(name)})`)]
  })
  const lines = [
    `.TH REGISTRY-TRUST 8 "" ${quoted(`registry-trust ${version}`)} "System administration"`,
    '.SH NAME',
    'registry-trust \\- makes a node trust private registries, and proves it with a test pull',
    '.SH SYNOPSIS',
    '.B registry-trust',
    '\\fICOMMAND\\fR [\\fIFLAGS\\fR]',
    '.SH COMMANDS',
    ...commands,
    '.SH FLAGS',
    ...flags,
    '.SH FILES',
    '.TP',
    '.I /etc/registry-trust/trust.yaml',
    'What the node should trust.',
    '.TP',
    '.I /var/lib/registry-trust',
    'What the agent owns, what was there before, and an audit log.',
  ]
  return `${lines.join('\n')}\n`
}

/**
 * A line that begins with a dot or a quote would be a request, and a plain hyphen a typographic one. Other letters than
 * those of ASCII are named, as groff_char(7) says: not every reader knows the encoding.
 */
function escaped(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll(/[^\n -~]/gu, (letter) => `\\[u${letter.codePointAt(0)?.toString(16).toUpperCase().padStart(4, '0')}]`)
    .replaceAll(/^([.'])/gm, '\\&$1')
}

function quoted(text: string): string {
  return `"${escaped(text).replaceAll('"', '\\(dq')}"`
}
