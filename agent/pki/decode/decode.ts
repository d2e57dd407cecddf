// Bytes of unknown form → certificates. The form is found by content, never by the file's name. Rules: one bad
// certificate never hides the good ones; a private key anywhere spoils the whole input, and no byte of it is repeated;
// whatever the bytes, nothing is thrown and the work is bounded.
// This room: bytes of a CA file become certificates, in every container that people use.
// Begin here; then pkcs12.ts and pkcs7.ts (two of the containers).
// May touch: nothing; it never throws for what is in the bytes.
import { type Problem, problem } from '../../model/errors.ts'
import type { Secret } from '../../model/secret.ts'
import { type DecodedCertificate, readCertificate } from '../certificate/certificate.ts'
import { childrenOf, type DerElement, readElements, TAG } from '../encoding/der.ts'
import { decodeBase64, PEM_MARKER, type PemBlock, splitPem } from '../encoding/pem.ts'
import { type JavaKeystoreReason, type JavaKeystoreType, javaKeystoreType, openJavaKeystore } from './java-keystore.ts'
import { readTrustedCertificate } from './openssl-trusted.ts'
import { certificatesInPkcs7 } from './pkcs7.ts'
import { openPkcs12, type Pkcs12Reason } from './pkcs12.ts'

/** Outermost first: `["base64", "base64", "pem"]` is what TKG stores. */
export type Encoding = 'data-uri' | 'base64' | 'pem' | 'der' | 'pkcs7' | 'pkcs12' | JavaKeystoreType

export type Decoded = {
  readonly certificates: readonly DecodedCertificate[]
  readonly problems: readonly Problem[]
  readonly encoding: readonly Encoding[]
  /** Those that the input holds once more; each stands in `certificates` once. */
  readonly repeated: readonly DecodedCertificate[]
}

export type DecodeOptions = {
  /** Of a PKCS#12 store; of a Java keystore, to check that it is whole. Anything else needs none. */
  readonly password?: Secret | undefined
}

export const ANCHOR_MAX_BYTES = 1024 * 1024
const ANCHOR_MAX_CERTIFICATES = 500

const MAX_BASE64_LAYERS = 2
const MAX_REPORTED = 20

export function decodeCertificates(bytes: Buffer, { password }: DecodeOptions = {}): Decoded {
  if (bytes.length > ANCHOR_MAX_BYTES) {
    const text = `the input has ${bytes.length} bytes, more than the ${ANCHOR_MAX_BYTES} that one anchor may hold`
    return nothing([], problem('ANCHOR_TOO_LARGE', text))
  }
  return bound(unwrap(bytes, { outer: [], password }))
}

/** How deep inside the input we are. */
type Place = { readonly outer: readonly Encoding[]; readonly password: Secret | undefined }

function inside({ outer, password }: Place, ...forms: readonly Encoding[]): Place {
  return { outer: [...outer, ...forms], password }
}

function unwrap(bytes: Buffer, place: Place): Decoded {
  const { outer } = place
  const keystore = javaKeystoreType(bytes)
  if (keystore !== undefined) return fromJavaKeystore(bytes, inside(place, keystore), keystore)
  const text = textOf(bytes)
  if (text === undefined && bytes[0] === TAG.sequence) return fromDer(bytes, place)
  const content = text ?? bytes.toString('latin1')
  if (content.trim() === '') return nothing(outer, problem('ANCHOR_EMPTY', 'the input is empty'))
  if (content.includes(PEM_MARKER)) return fromPem(content, inside(place, 'pem'))
  if (text === undefined) return garbage(bytes, outer)
  return fromDataUri(content, place) ?? fromBase64(content, place) ?? garbage(bytes, outer)
}

/** The bytes as text, without a byte order mark; `undefined` when they hold control characters as binary forms do. */
function textOf(bytes: Buffer): string | undefined {
  // What Windows tools write as "Unicode".
  const text =
    bytes[0] === 0xff && bytes[1] === 0xfe
      ? bytes.subarray(2).toString('utf16le')
      : bytes.toString('latin1').replace(/^\u00ef\u00bb\u00bf/, '')
  // biome-ignore lint/suspicious/noControlCharactersInRegex: telling text from binary is the point
  return /[\u0000-\u0008\u000e-\u001f]/.test(text) ? undefined : text
}

function fromDataUri(text: string, place: Place): Decoded | undefined {
  const found = /^\s*data:[^,]{0,200},/.exec(text)
  if (found === null || place.outer.length > 0) return undefined
  const rest = text.slice(found[0].length)
  if (/;base64,$/.test(found[0])) return fromBase64(rest, inside(place, 'data-uri'))
  try {
    return unwrap(Buffer.from(decodeURIComponent(rest), 'latin1'), inside(place, 'data-uri'))
  } catch {
    return undefined
  }
}

function fromBase64(text: string, place: Place): Decoded | undefined {
  if (place.outer.filter((form) => form === 'base64').length >= MAX_BASE64_LAYERS) return undefined
  const inner = decodeBase64(text.replace(/\s+/g, ''))
  if (inner === undefined) return undefined
  const decoded = unwrap(inner, inside(place, 'base64'))
  // Any word is valid base64: only what leads to something known was meant as base64.
  return decoded.encoding.at(-1) === 'base64' ? undefined : decoded
}

function fromPem(text: string, { outer: encoding }: Place): Decoded {
  if (/-----BEGIN [A-Za-z0-9 ]*PRIVATE KEY/.test(text)) return privateKey(encoding)
  const blocks = splitPem(text, ANCHOR_MAX_CERTIFICATES + 1)
  if (blocks.length > ANCHOR_MAX_CERTIFICATES) return tooMany(encoding)
  const parts = blocks.flatMap(readBlock)
  if (parts.some((part) => part.problem?.code === 'ANCHOR_PRIVATE_KEY')) return privateKey(encoding)
  if (parts.length > ANCHOR_MAX_CERTIFICATES) return tooMany(encoding)
  const isContainer = blocks.some((block) => block.ok && PKCS7_LABELS.has(block.label))
  return collect(parts, isContainer ? [...encoding, 'pkcs7'] : encoding)
}

type Part = { readonly certificate?: DecodedCertificate; readonly problem?: Problem }

const PKCS7_LABELS: ReadonlySet<string> = new Set(['PKCS7', 'CMS', 'PKCS #7 SIGNED DATA'])

function readBlock(block: PemBlock): readonly Part[] {
  const place = `block ${block.number} (line ${block.line})`
  const isTrusted = block.label === 'TRUSTED CERTIFICATE'
  const isPkcs7 = PKCS7_LABELS.has(block.label)
  if (!isTrusted && !isPkcs7 && block.label !== 'CERTIFICATE' && block.label !== 'X509 CERTIFICATE') {
    const text = `${place} is labelled ${block.label}, not CERTIFICATE`
    return [{ problem: problem('ANCHOR_NOT_A_CERTIFICATE', text) }]
  }
  if (!block.ok) return [{ problem: problem('ANCHOR_NOT_A_CERTIFICATE', `${place} ${block.reason}`) }]
  if (isPkcs7) return readPkcs7(block.der, place)
  if (!isTrusted) return [readDer(block.der, place)]
  const trusted = readTrustedCertificate(block.der)
  return [
    trusted.ok ? readDer(trusted.der, place) : { problem: problem('ANCHOR_UNUSABLE', `${place} ${trusted.reason}`) },
  ]
}

function fromDer(bytes: Buffer, place: Place): Decoded {
  const container = containerOf(bytes)
  if (container === 'pkcs12') return fromPkcs12(bytes, inside(place, 'pkcs12'))
  const encoding = [...place.outer, container ?? 'der'] as const
  const parts = container === 'pkcs7' ? readPkcs7(bytes, 'the input') : readElementsOf(bytes)
  if (parts.length > ANCHOR_MAX_CERTIFICATES) return tooMany(encoding)
  if (parts.some((part) => part.problem?.code === 'ANCHOR_PRIVATE_KEY')) return privateKey(encoding)
  return collect(parts, encoding)
}

function readElementsOf(bytes: Buffer): readonly Part[] {
  const elements = readElements(bytes) ?? readElements(withoutLineEnd(bytes))
  if (elements === undefined) {
    const text = 'the input begins like DER, but is cut off or malformed'
    return [{ problem: problem('ANCHOR_NOT_A_CERTIFICATE', text) }]
  }
  let offset = 0
  return elements.slice(0, ANCHOR_MAX_CERTIFICATES + 1).map((element) => {
    const part = readDer(element.raw, elements.length === 1 ? 'the input' : `the element at byte ${offset}`)
    offset += element.raw.length
    return part
  })
}

/** What `echo` and some editors append to a binary file; the DER before it is whole. */
function withoutLineEnd(bytes: Buffer): Buffer {
  return bytes.subarray(0, bytes.length - (/\r?\n$/.exec(bytes.subarray(-2).toString('latin1'))?.[0].length ?? 0))
}

function readPkcs7(bytes: Buffer, place: string): readonly Part[] {
  const certificates = certificatesInPkcs7(bytes)
  if (certificates === undefined) {
    return [
      { problem: problem('ANCHOR_NOT_A_CERTIFICATE', `${place} is a PKCS#7 container, but cut off or malformed`) },
    ]
  }
  if (certificates.length === 0) {
    return [{ problem: problem('ANCHOR_EMPTY', `${place} is a PKCS#7 container without a certificate in it`) }]
  }
  return numbered(certificates, place)
}

function numbered(certificates: readonly Buffer[], place: string): readonly Part[] {
  return certificates
    .slice(0, ANCHOR_MAX_CERTIFICATES + 1)
    .map((der, index) => readDer(der, `certificate ${index + 1} of ${place}`))
}

const PKCS12_CODES = {
  malformed: 'ANCHOR_NOT_A_CERTIFICATE',
  'private-key': 'ANCHOR_PRIVATE_KEY',
  'password-missing': 'ANCHOR_PASSWORD',
  'password-wrong': 'ANCHOR_PASSWORD',
  unsupported: 'ANCHOR_NOT_SUPPORTED_YET',
  'too-much-work': 'ANCHOR_TOO_COSTLY',
} as const satisfies { readonly [reason in Pkcs12Reason]: string }

function fromPkcs12(bytes: Buffer, { outer, password }: Place): Decoded {
  const opened = openPkcs12(bytes, password)
  if (!opened.ok && opened.reason === 'private-key') return privateKey(outer)
  if (!opened.ok)
    return nothing(outer, problem(PKCS12_CODES[opened.reason], `the input is a PKCS#12 store: ${opened.detail}`))
  if (opened.certificates.length === 0) {
    return nothing(outer, problem('ANCHOR_EMPTY', 'the input is a PKCS#12 store without a certificate in it'))
  }
  const parts = numbered(opened.certificates, 'the store')
  return parts.length > ANCHOR_MAX_CERTIFICATES ? tooMany(outer) : collect(parts, outer)
}

const KEYSTORE_CODES = {
  malformed: 'ANCHOR_NOT_A_CERTIFICATE',
  'private-key': 'ANCHOR_PRIVATE_KEY',
  'password-wrong': 'ANCHOR_PASSWORD',
  unsupported: 'ANCHOR_NOT_SUPPORTED_YET',
  'too-many': 'ANCHOR_TOO_LARGE',
} as const satisfies { readonly [reason in JavaKeystoreReason]: string }

function fromJavaKeystore(bytes: Buffer, { outer, password }: Place, type: JavaKeystoreType): Decoded {
  const opened = openJavaKeystore(bytes, password, ANCHOR_MAX_CERTIFICATES)
  const subject = `the input is a Java keystore (${type.toUpperCase()})`
  if (!opened.ok && opened.reason === 'private-key') return privateKey(outer)
  if (!opened.ok) return nothing(outer, problem(KEYSTORE_CODES[opened.reason], `${subject}: ${opened.detail}`))
  if (opened.certificates.length === 0)
    return nothing(outer, problem('ANCHOR_EMPTY', `${subject} without a certificate in it`))
  return collect(numbered(opened.certificates, 'the keystore'), outer)
}

function readDer(der: Buffer, place: string): Part {
  if (isPrivateKey(der)) return { problem: problem('ANCHOR_PRIVATE_KEY', `${place} is a private key`) }
  const container = containerOf(der)
  if (container !== undefined) {
    const text = `${place} is a ${container === 'pkcs7' ? 'PKCS#7' : 'PKCS#12'} container where a certificate should be`
    return { problem: problem('ANCHOR_NOT_A_CERTIFICATE', text) }
  }
  const read = readCertificate(der, place)
  return read.ok ? { certificate: read.certificate } : { problem: read.problem }
}

/** PKCS#8 (plain and encrypted), PKCS#1 and SEC 1, recognised by their shape. */
function isPrivateKey(der: Buffer): boolean {
  const [outer] = readElements(der) ?? []
  const children = childrenOf(outer, TAG.sequence) ?? []
  const shape = children.map((child) => child.tag)
  const starts = (...tags: readonly number[]) => tags.every((tag, index) => shape[index] === tag)
  const isVersion = (child: DerElement | undefined) => child?.content.length === 1 && (child.content[0] ?? 9) <= 1
  if (starts(TAG.sequence, TAG.octetString)) return children.length === 2
  if (!isVersion(children[0])) return false
  return (
    starts(TAG.integer, TAG.sequence, TAG.octetString) ||
    starts(TAG.integer, TAG.octetString) ||
    (children.length >= 9 && children.slice(0, 9).every((child) => child.tag === TAG.integer))
  )
}

const PKCS7_SIGNED_DATA = Buffer.from('06092a864886f70d010702', 'hex')
const PKCS12_VERSION = Buffer.from('02010330', 'hex')

/** By the first bytes alone: these containers are often BER of indefinite length, which the DER reader refuses. */
function containerOf(bytes: Buffer): 'pkcs7' | 'pkcs12' | undefined {
  const first = bytes[1] ?? 0
  const content = bytes.subarray(first > 0x80 ? 2 + (first & 0x7f) : 2)
  if (bytes[0] !== TAG.sequence) return undefined
  if (content.subarray(0, PKCS7_SIGNED_DATA.length).equals(PKCS7_SIGNED_DATA)) return 'pkcs7'
  return content.subarray(0, PKCS12_VERSION.length).equals(PKCS12_VERSION) ? 'pkcs12' : undefined
}

function garbage(bytes: Buffer, outer: readonly Encoding[]): Decoded {
  return nothing(outer, problem('ANCHOR_NOT_A_CERTIFICATE', `the input holds no certificate: ${foundIn(bytes)}`))
}

function foundIn(bytes: Buffer): string {
  const start = bytes.subarray(0, 200).toString('utf8').trimStart().toLowerCase()
  if (start.startsWith('<!doctype html') || start.startsWith('<html'))
    return 'it is an HTML page: the download got a web page in place of the certificate'
  // Text programs and wikis put long dashes, wide spaces or small letters there.
  if (/begin\s+certificate/.test(start))
    return 'its line "-----BEGIN CERTIFICATE-----" must be spelled exactly so, in capital letters between five hyphens'
  if (bytes[0] === 0x1f && bytes[1] === 0x8b) return 'it is compressed by gzip: unpack it first'
  return 'neither PEM, DER nor base64 of one of them begins at byte 0'
}

function privateKey(encoding: readonly Encoding[]): Decoded {
  return nothing(encoding, problem('ANCHOR_PRIVATE_KEY', 'the input holds a private key: nothing of it is used'))
}

function tooMany(encoding: readonly Encoding[]): Decoded {
  const text = `the input holds more than the ${ANCHOR_MAX_CERTIFICATES} certificates that one anchor may hold`
  return nothing(encoding, problem('ANCHOR_TOO_LARGE', text))
}

function nothing(encoding: readonly Encoding[], ...problems: readonly Problem[]): Decoded {
  return { certificates: [], problems, encoding, repeated: [] }
}

function collect(parts: readonly Part[], encoding: readonly Encoding[]): Decoded {
  const unique = new Map<string, DecodedCertificate>()
  const repeated: DecodedCertificate[] = []
  for (const { certificate } of parts) {
    if (certificate === undefined) continue
    if (unique.has(certificate.fingerprint)) repeated.push(certificate)
    else unique.set(certificate.fingerprint, certificate)
  }
  const problems = parts.map((part) => part.problem).filter((found) => found !== undefined)
  return { certificates: [...unique.values()], problems, encoding, repeated }
}

function bound(decoded: Decoded): Decoded {
  const more = decoded.problems.length - MAX_REPORTED
  if (more <= 0) return decoded
  const rest = problem('ANCHOR_NOT_A_CERTIFICATE', `${more} more blocks cannot be used`)
  return { ...decoded, problems: [...decoded.problems.slice(0, MAX_REPORTED), rest] }
}
