// Opens a PKCS#12 store (RFC 7292) for the certificates in it. Rules: a key in it spoils the whole store and is never
// decrypted; nothing is believed before the password has proved itself; and the file cannot choose how long we
// calculate.
import { createHmac, timingSafeEqual } from 'node:crypto'
import type { Secret } from '../../model/secret.ts'
import { type BerElement, berChildren, berOctets, readBer } from '../encoding/ber.ts'
import { dottedOid, TAG } from '../encoding/der.ts'
import { decryptPbe, deriveMacKey, type Password, readMacAlgorithm, Workload } from './pkcs12-keys.ts'

export type Pkcs12Reason =
  | 'malformed'
  | 'private-key'
  | 'password-missing'
  | 'password-wrong'
  | 'unsupported'
  | 'too-much-work'

export type OpenedPkcs12 =
  | { readonly ok: true; readonly certificates: readonly Buffer[] }
  | { readonly ok: false; readonly reason: Pkcs12Reason; readonly detail: string }

const DATA = '1.2.840.113549.1.7.1'
const ENCRYPTED_DATA = '1.2.840.113549.1.7.6'
const BAGS = '1.2.840.113549.1.12.10.1.'
/** keyBag, pkcs8ShroudedKeyBag, and secretBag, in which Java keeps secret keys and passwords (RFC 7292, 4.2). */
const KEY_BAGS = [`${BAGS}1`, `${BAGS}2`, `${BAGS}5`]
const X509_BAG = '1.2.840.113549.1.9.22.1'
const MOST_SAFES = 64
const DEEPEST_SAFE = 4

class Refused extends Error {
  readonly reason: Pkcs12Reason

  constructor(reason: Pkcs12Reason, detail: string) {
    super(detail)
    this.reason = reason
  }
}

export function openPkcs12(bytes: Buffer, password: Secret | undefined): OpenedPkcs12 {
  try {
    return { ok: true, certificates: open(bytes, password) }
  } catch (error) {
    if (error instanceof Refused) return { ok: false, reason: error.reason, detail: error.message }
    // The ciphers answer wrong keys and cut-off text with their own errors.
    return { ok: false, reason: 'malformed', detail: 'it cannot be decrypted: it is damaged' }
  }
}

function open(bytes: Buffer, secret: Secret | undefined): readonly Buffer[] {
  const [version, authSafe, macData] = sequence(readBer(bytes), 'the store')
  if (version?.tag !== TAG.integer || authSafe === undefined)
    throw new Refused('malformed', 'it is cut off or malformed')
  const content = contentOf(authSafe)
  if (content.type !== DATA) throw new Refused('unsupported', 'it is protected by a signature instead of a password')
  const safes = octets(content.value)
  const work = new Workload()
  const infos = sequence(readBer(safes), 'its content')
  if (infos.length > MOST_SAFES) throw new Refused('malformed', 'it has too many parts')
  const plain = infos.map(contentOf)
  const found: Buffer[] = []
  // Keys usually lie in the open: such a store is refused before any password is asked for.
  for (const { type, value } of plain) if (type === DATA) collect(readBer(octets(value)), found, 0)
  const sealed = plain.filter(({ type }) => type === ENCRYPTED_DATA)
  if (plain.some(({ type }) => type !== DATA && type !== ENCRYPTED_DATA)) {
    throw new Refused('unsupported', 'a part of it is encrypted for a public key')
  }
  const password = provenPassword(macData, safes, secret, work, sealed.length > 0)
  for (const { value } of sealed) {
    const clear = readBer(decrypt(value, password, work, secret !== undefined))
    // Without a checksum a wrong password shows only in that nonsense comes out.
    if (macData === undefined && berChildren(clear, TAG.sequence) === undefined)
      throw wrongPassword(secret !== undefined)
    collect(clear, found, 0)
  }
  return found
}

type Content = { readonly type: string; readonly value: BerElement }

function contentOf(element: BerElement): Content {
  const [type, wrapped] = sequence(element, 'a part of it')
  const [value] = berChildren(wrapped, 0xa0) ?? []
  if (type?.tag !== TAG.oid || value === undefined) throw new Refused('malformed', 'a part of it is malformed')
  return { type: dottedOid(type.content), value }
}

/** The password in the form that opens this store. An empty one may be meant in two ways. */
function provenPassword(
  macData: BerElement | undefined,
  safes: Buffer,
  secret: Secret | undefined,
  work: Workload,
  isSealed: boolean,
): Password {
  const text = secret?.reveal() ?? ''
  const candidates: readonly Password[] =
    text === ''
      ? [
          { text, form: 'terminated' },
          { text, form: 'none' },
        ]
      : [{ text, form: 'terminated' }]
  const [first = { text, form: 'terminated' }] = candidates
  if (macData === undefined) return first
  const [info, salt, iterations] = sequence(macData, 'its checksum')
  const [algorithm, digest] = sequence(info, 'its checksum')
  const mac = algorithm && readMacAlgorithm(algorithm, salt && octets(salt), numberOf(iterations))
  if (mac === undefined || digest === undefined)
    throw new Refused('unsupported', 'its checksum is of a kind that is not supported')
  const wanted = octets(digest)
  for (const candidate of candidates) {
    const key = deriveMacKey(mac, candidate, work)
    if (key === undefined) throw tooMuchWork()
    const actual = createHmac(mac.hash, key).update(safes).digest()
    if (actual.length === wanted.length && timingSafeEqual(actual, wanted)) return candidate
  }
  if (secret === undefined)
    throw new Refused('password-missing', isSealed ? 'it is encrypted' : 'it is protected by a password')
  throw new Refused('password-wrong', 'the password given does not open it')
}

function decrypt(value: BerElement, password: Password, work: Workload, isGiven: boolean): Buffer {
  const [, info] = sequence(value, 'an encrypted part of it')
  const [, algorithm, sealed] = sequence(info, 'an encrypted part of it')
  if (algorithm === undefined || sealed === undefined)
    throw new Refused('malformed', 'an encrypted part of it is malformed')
  const result = decryptPbe(algorithm, octets(sealed), password, work)
  switch (result.kind) {
    case 'clear':
      return result.bytes
    case 'too-much-work':
      throw tooMuchWork()
    case 'unsupported':
      throw new Refused('unsupported', `it is encrypted with ${result.algorithm}, which is not supported`)
    case 'undecipherable':
      throw wrongPassword(isGiven)
    default:
      throw result satisfies never
  }
}

function wrongPassword(isGiven: boolean): Refused {
  if (isGiven) return new Refused('password-wrong', 'the password given does not open it')
  return new Refused('password-missing', 'it is encrypted')
}

function tooMuchWork(): Refused {
  return new Refused('too-much-work', 'it asks for more password iterations than any real store does')
}

/** Certificates of a SafeContents; a key of any kind ends everything. */
function collect(safe: BerElement | undefined, found: Buffer[], depth: number): void {
  if (depth > DEEPEST_SAFE) throw new Refused('malformed', 'its parts are nested too deeply')
  for (const bag of sequence(safe, 'its content')) {
    const [id, wrapped] = sequence(bag, 'an entry of it')
    const [value] = berChildren(wrapped, 0xa0) ?? []
    const kind = id?.tag === TAG.oid ? dottedOid(id.content) : ''
    if (KEY_BAGS.includes(kind)) throw new Refused('private-key', 'it holds a private or secret key')
    if (kind === `${BAGS}6`) collect(value, found, depth + 1)
    if (kind !== `${BAGS}3`) continue
    const [type, inner] = sequence(value, 'an entry of it')
    const [certificate] = berChildren(inner, 0xa0) ?? []
    if (type?.tag === TAG.oid && dottedOid(type.content) === X509_BAG && certificate !== undefined)
      found.push(octets(certificate))
  }
}

function sequence(element: BerElement | undefined, what: string): readonly BerElement[] {
  const children = berChildren(element, TAG.sequence)
  if (children === undefined) throw new Refused('malformed', `${what} is cut off or malformed`)
  return children
}

function octets(element: BerElement): Buffer {
  const bytes = berOctets(element)
  if (bytes === undefined) throw new Refused('malformed', 'it is cut off or malformed')
  return bytes
}

/** Absent means 1. */
function numberOf(element: BerElement | undefined): number {
  if (element === undefined) return 1
  const { tag, content } = element
  return tag === TAG.integer && content.length > 0 && content.length <= 6
    ? content.readUIntBE(0, content.length)
    : Number.POSITIVE_INFINITY
}
