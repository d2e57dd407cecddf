// Reads BER, of which DER is the strict form: PKCS#7 and PKCS#12 containers are often written with indefinite lengths
// and octet strings in pieces. Only for containers: a certificate itself has to be DER. Hostile bytes give `undefined`;
// depth and work are bounded.

export type BerElement = {
  readonly tag: number
  /** Header, content and, where the length is indefinite, the end mark. */
  readonly raw: Buffer
  readonly content: Buffer
}

const CONSTRUCTED = 0x20
const INDEFINITE = 0x80
const DEEPEST = 32
const MOST_ELEMENTS = 20_000

/** The element at the start of `bytes`; bytes after it are not looked at. */
export function readBer(bytes: Buffer): BerElement | undefined {
  return read(bytes, 0, { left: MOST_ELEMENTS })
}

/** The elements inside one that has the tag asked for. */
export function berChildren(element: BerElement | undefined, tag: number): readonly BerElement[] | undefined {
  if (element === undefined || element.tag !== tag) return undefined
  const budget = { left: MOST_ELEMENTS }
  const children: BerElement[] = []
  for (let at = 0; at < element.content.length; ) {
    const child = read(element.content.subarray(at), 0, budget)
    if (child === undefined) return undefined
    children.push(child)
    at += child.raw.length
  }
  return children
}

/** The bytes of an octet string, whole or in pieces; also under an implicit tag. */
export function berOctets(element: BerElement | undefined, depth = 0): Buffer | undefined {
  if (element === undefined || depth > DEEPEST) return undefined
  if ((element.tag & CONSTRUCTED) === 0) return element.content
  const pieces = berChildren(element, element.tag)?.map((piece) => berOctets(piece, depth + 1))
  const known = pieces?.filter((piece) => piece !== undefined)
  return known === undefined || known.length !== pieces?.length ? undefined : Buffer.concat(known)
}

type Budget = { left: number }

function read(bytes: Buffer, depth: number, budget: Budget): BerElement | undefined {
  const tag = bytes[0]
  const first = bytes[1]
  budget.left -= 1
  if (tag === undefined || first === undefined || (tag & 0x1f) === 0x1f || budget.left < 0) return undefined
  if (first === INDEFINITE) return readIndefinite(bytes, tag, depth, budget)
  const lengthBytes = first < 0x80 ? 0 : first & 0x7f
  if (lengthBytes > 4 || bytes.length < 2 + lengthBytes) return undefined
  const start = 2 + lengthBytes
  const end = start + (lengthBytes === 0 ? first : bytes.readUIntBE(2, lengthBytes))
  return end > bytes.length ? undefined : { tag, raw: bytes.subarray(0, end), content: bytes.subarray(start, end) }
}

/** Ends with two zero bytes at the level of its children. */
function readIndefinite(bytes: Buffer, tag: number, depth: number, budget: Budget): BerElement | undefined {
  if ((tag & CONSTRUCTED) === 0 || depth >= DEEPEST) return undefined
  for (let at = 2; at + 2 <= bytes.length; ) {
    if (bytes[at] === 0 && bytes[at + 1] === 0) {
      return { tag, raw: bytes.subarray(0, at + 2), content: bytes.subarray(2, at) }
    }
    const child = read(bytes.subarray(at), depth + 1, budget)
    if (child === undefined) return undefined
    at += child.raw.length
  }
  return undefined
}
