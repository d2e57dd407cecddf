// Domain names and mailboxes of certificates as Go checks them while it reads them (crypto/x509 domainToReverseLabels,
// since Go 1.26 domainNameValid, and parseRFC2821Mailbox).
import type { GoVersion } from './refusal.ts'

/** A name that a certificate is for, e.g. the host of a URI. The empty name passes, as with Go. */
export function isDomain(name: string, go: GoVersion): boolean {
  if (!hasLabels(name)) return false
  // Go 1.19 does not see an empty label at the start.
  return go === '1.19' || !name.startsWith('.')
}

/** The same with the leading dot that a name constraint may have. */
export function isDomainConstraint(name: string, go: GoVersion): boolean {
  if (go === '1.27' && name === '.') return false
  return isDomain(name.replace(/^\./, ''), go)
}

function hasLabels(name: string): boolean {
  return !name.endsWith('.') && !name.includes('..') && /^[\x21-\x7e]*$/.test(name)
}

// Written by what may not stand there, since all else of ASCII may: NUL, tab, line ends, quotes and backslashes.
const QUOTED = /^"(?:\\[^\0\n\r]|[^\0\t\n\r"\\])*"/
const ATOMS = /^(?:\\.|[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~.])+/s

/** `local@domain`, where the local part may be quoted. */
export function isMailbox(text: string, go: GoVersion): boolean {
  const local = (text.startsWith('"') ? QUOTED : ATOMS).exec(text)?.[0]
  if (local === undefined || text[local.length] !== '@') return false
  if (!local.startsWith('"') && !hasGoodDots(local.replace(/\\(.)/gs, '$1'))) return false
  const domain = text.slice(local.length + 1)
  return isDomain(domain, go) && (go !== '1.27' || !domain.includes('@'))
}

function hasGoodDots(local: string): boolean {
  return !local.startsWith('.') && !local.endsWith('.') && !local.includes('..')
}
