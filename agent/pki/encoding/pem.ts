// Splits PEM text (RFC 7468, read as leniently as people write it) into blocks. A broken block is reported and the next
// one read. Lenient: text around blocks, CRLF, missing final newline, a body folded into one line by YAML. Strict:
// labels match, base64 is base64.

export type PemBlock = {
  readonly label: string
  /** 1-based. */
  readonly number: number
  readonly line: number
} & ({ readonly ok: true; readonly der: Buffer } | { readonly ok: false; readonly reason: string })

export const PEM_MARKER = '-----BEGIN '

const DASHES = '-----'

/** At most `limit` blocks; the caller tells "more than" by asking for one too many. */
export function splitPem(text: string, limit: number): readonly PemBlock[] {
  const blocks: PemBlock[] = []
  const lineAt = lineCounter(text)
  let start = text.indexOf(PEM_MARKER)
  while (start !== -1 && blocks.length < limit) {
    const labelEnd = text.indexOf(DASHES, start + PEM_MARKER.length)
    const label = labelEnd === -1 ? '' : text.slice(start + PEM_MARKER.length, labelEnd)
    const next = text.indexOf(PEM_MARKER, start + PEM_MARKER.length)
    const until = next === -1 ? text.length : next
    const head = { label: printableLabel(label), number: blocks.length + 1, line: lineAt(start) }
    const body = labelEnd === -1 ? '' : text.slice(labelEnd + DASHES.length, until)
    blocks.push({ ...head, ...readBody(body, label) })
    start = next
  }
  return blocks
}

type Body = { readonly ok: true; readonly der: Buffer } | { readonly ok: false; readonly reason: string }

function readBody(text: string, label: string): Body {
  const end = text.indexOf('-----END ')
  if (end === -1) return { ok: false, reason: `has no "-----END ${printableLabel(label)}-----" line: it is cut off` }
  if (!text.startsWith(`-----END ${label}${DASHES}`, end)) {
    const dashes = text.startsWith(`-----END ${label}`, end)
      ? /^-*/.exec(text.slice(end + 9 + label.length))?.[0]
      : undefined
    if (dashes !== undefined && dashes.length < DASHES.length) {
      const found = dashes.length === 0 ? 'none' : `${dashes.length}`
      return {
        ok: false,
        reason: `ends with ${found} of the five dashes after "-----END ${printableLabel(label)}": add the rest`,
      }
    }
    return { ok: false, reason: 'ends with another label than it begins with' }
  }
  const body = text.slice(0, end)
  if (body.includes('\\n')) {
    return {
      ok: false,
      reason: 'holds "\\n" as two characters where lines should end: in YAML use a | block or double quotes',
    }
  }
  if (body.includes(':'))
    return { ok: false, reason: 'has PEM headers ("Name: value"), which a certificate may not have' }
  const compact = body.replace(/\s+/g, '')
  if (compact === '') return { ok: false, reason: 'is empty' }
  const der = decodeBase64(compact)
  return der === undefined ? { ok: false, reason: 'is not valid base64' } : { ok: true, der }
}

/** Strict about the alphabet and the length; padding may be left out. `undefined`: not base64. */
export function decodeBase64(compact: string): Buffer | undefined {
  const unpadded = compact.replace(/={1,2}$/, '')
  if (!/^[A-Za-z0-9+/_-]+$/.test(unpadded) || unpadded.length % 4 === 1) return undefined
  const isPaddedWrong = compact.length !== unpadded.length && compact.length % 4 !== 0
  return isPaddedWrong ? undefined : Buffer.from(unpadded, 'base64')
}

function printableLabel(label: string): string {
  return /^[A-Za-z0-9 #.-]{1,40}$/.test(label) ? label : '?'
}

/** Counts lines up to growing offsets without starting over. */
function lineCounter(text: string): (offset: number) => number {
  let counted = 0
  let line = 1
  return (offset) => {
    for (let at = text.indexOf('\n', counted); at !== -1 && at < offset; at = text.indexOf('\n', at + 1)) {
      line += 1
      counted = at + 1
    }
    return line
  }
}
