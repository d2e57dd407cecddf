// /etc/hosts (hosts(5)): which addresses a name has there, and how lines of the agent get into it and out again. Each of
// its lines ends with a mark; every other byte stays. The text is one character a byte (latin1), so that a comment in
// any encoding stays as it is.
import { isIP } from 'node:net'

export const HOSTS_FILE = '/etc/hosts'
const MARK = '# registry-trust-agent'
/** One address and one name: a line to which somebody has added a name is theirs. */
const OURS = /^([0-9A-Fa-f:.]+)[ \t]+([^\s#]+)[ \t]+# registry-trust-agent[ \t]*\r?$/

export type HostsEntry = {
  /** From 1. */
  readonly line: number
  /** In the spelling of `canonicalAddress`. */
  readonly address: string
  /** In lower case, without a dot at the end. */
  readonly names: readonly string[]
  /** The agent wrote the line. */
  readonly isOurs: boolean
}

/** What a name is to have: one line for each address. */
export type HostsName = { readonly name: string; readonly addresses: readonly string[] }

/** One spelling for each address (RFC 5952 for IPv6); undefined for anything else. */
export function canonicalAddress(text: string): string | undefined {
  switch (isIP(text)) {
    case 4:
      return text
    case 6:
      return text.includes('%') ? text.toLowerCase() : new URL(`http://[${text}]/`).hostname.slice(1, -1)
    default:
      return undefined
  }
}

/** The lines that name one of these, as glibc and Go read them; lines without a valid address say nothing. */
export function entriesNaming(text: string, names: ReadonlySet<string>): readonly HostsEntry[] {
  // Lists that block hosts have a hundred thousand lines: most of them need not be taken apart.
  const lower = text.toLowerCase()
  if (![...names].some((name) => lower.includes(name))) return []
  const lines = text.split('\n')
  return lower.split('\n').flatMap((content, index): readonly HostsEntry[] => {
    const [said = ''] = content.split('#', 1)
    const [first = '', ...rest] = said.split(/[ \t\v\f\r]+/).filter((word) => word !== '')
    const named = rest.map((name) => name.replace(/\.$/, ''))
    if (!named.some((name) => names.has(name))) return []
    const address = canonicalAddress(first)
    if (address === undefined) return []
    return [{ line: index + 1, address, names: named, isOurs: isOurs(lines[index] ?? '') }]
  })
}

/**
 * The text in which the agent's lines are exactly those asked for. They stand where its lines stood, else at the end;
 * before a last line without a line end, so that nothing has to be added to that line.
 */
export function withNames(text: string, wanted: readonly HostsName[]): string {
  const end = lineEnd(text)
  const lines = wanted.flatMap(({ name, addresses }) => addresses.map((address) => `${address} ${name} ${MARK}${end}`))
  const all = text.split('\n')
  const ours = all.filter(isOurs)
  if (ours.length === lines.length && ours.every((line, index) => line === lines[index])) return text
  const first = all.findIndex(isOurs)
  const at = first === -1 ? all.length - 1 : first
  const kept = (part: readonly string[]) => part.filter((line) => !isOurs(line))
  return [...kept(all.slice(0, at)), ...lines, ...kept(all.slice(at))].join('\n')
}

/** The text without the agent's lines. */
export function withoutNames(text: string): string {
  return withNames(text, [])
}

/** A last line of the agent's that lost its line end is still its line. */
function isOurs(line: string): boolean {
  return OURS.test(line)
}

function lineEnd(text: string): string {
  return /\r\n[^\n]*$/.test(text) ? '\r' : ''
}
