// Reads the certificates of a Java keystore of the types JKS and JCEKS, as `keytool -storetype` and older JVMs write
// them (JDK, sun.security.provider.JavaKeyStore and com.sun.crypto.provider.JceKeyStore: big-endian fields, then a SHA-1
// over password and content). Hostile bytes never throw; nothing is copied, and the work grows with the bytes alone.
import { createHash, timingSafeEqual } from 'node:crypto'
import type { Secret } from '../../model/secret.ts'

export type JavaKeystoreType = 'jks' | 'jceks'

export type JavaKeystore =
  | { readonly ok: true; readonly certificates: readonly Buffer[] }
  | { readonly ok: false; readonly reason: JavaKeystoreReason; readonly detail: string }

export type JavaKeystoreReason = 'malformed' | 'private-key' | 'password-wrong' | 'unsupported' | 'too-many'

const MAGIC: ReadonlyMap<number, JavaKeystoreType> = new Map([
  [0xfeedfeed, 'jks'],
  [0xcececece, 'jceks'],
])
/** A secret key of JCEKS (3) is a serialized Java object, whose length is not known. */
const TRUSTED_CERTIFICATE = 2
const DIGEST_BYTES = 20
/** The words that the JDK hashes between password and content. */
const WHITENER = 'Mighty Aphrodite'

/** By its first four bytes; undefined: it is none. */
export function javaKeystoreType(bytes: Buffer): JavaKeystoreType | undefined {
  return bytes.length >= 4 ? MAGIC.get(bytes.readUInt32BE(0)) : undefined
}

/**
 * `password`: the store must hash to its last 20 bytes with it; absent: that is not checked, as with `keytool -list`
 * without a password. At most `most` certificates.
 */
export function openJavaKeystore(bytes: Buffer, password: Secret | undefined, most: number): JavaKeystore {
  const content = bytes.subarray(0, Math.max(bytes.length - DIGEST_BYTES, 0))
  const reader = new Reader(content)
  reader.number()
  const version = reader.number()
  const count = reader.number()
  if (version === undefined || count === undefined) return cutOff(reader)
  if (version !== 1 && version !== 2)
    return { ok: false, reason: 'unsupported', detail: `version ${version} of the format is not known` }
  const certificates: Buffer[] = []
  for (let entry = 1; entry <= count; entry += 1) {
    const tag = reader.number()
    if (tag === undefined) return cutOff(reader)
    if (tag === 1 || tag === 3)
      return { ok: false, reason: 'private-key', detail: `entry ${entry} is a private or secret key` }
    if (tag !== TRUSTED_CERTIFICATE)
      return { ok: false, reason: 'malformed', detail: `entry ${entry} is of an unknown kind` }
    if (certificates.length >= most)
      return { ok: false, reason: 'too-many', detail: `it holds more than ${most} certificates` }
    const type = reader.alias() && reader.date() && (version === 1 ? 'X.509' : reader.text())
    const certificate = reader.block()
    if (type === undefined || certificate === undefined) return cutOff(reader)
    if (type !== 'X.509')
      return { ok: false, reason: 'unsupported', detail: `entry ${entry} is not an X.509 certificate` }
    certificates.push(certificate)
  }
  if (!reader.isAtEnd) return { ok: false, reason: 'malformed', detail: 'bytes follow the last entry' }
  if (password !== undefined && !isIntact(content, bytes.subarray(content.length), password))
    return { ok: false, reason: 'password-wrong', detail: 'the password is wrong, or the store was changed without it' }
  return { ok: true, certificates }
}

function cutOff({ offset }: Reader): JavaKeystore {
  return { ok: false, reason: 'malformed', detail: `it is cut off, or malformed, at byte ${offset}` }
}

function isIntact(content: Buffer, digest: Buffer, password: Secret): boolean {
  const characters = Buffer.from(password.reveal(), 'utf16le').swap16()
  const expected = createHash('sha1').update(characters).update(WHITENER).update(content).digest()
  return digest.length === DIGEST_BYTES && timingSafeEqual(expected, digest)
}

/** Fields as java.io.DataInput has them; undefined once the bytes are used up. */
class Reader {
  readonly #bytes: Buffer
  offset = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  get isAtEnd(): boolean {
    return this.offset === this.#bytes.length
  }

  number(): number | undefined {
    return this.#take(4)?.readUInt32BE(0)
  }

  /** Of names and types only ASCII is of interest here. */
  text(): string | undefined {
    const length = this.#take(2)?.readUInt16BE(0)
    return length === undefined ? undefined : this.#take(length)?.toString('latin1')
  }

  alias(): boolean {
    return this.text() !== undefined
  }

  date(): boolean {
    return this.#take(8) !== undefined
  }

  block(): Buffer | undefined {
    const length = this.number()
    return length === undefined ? undefined : this.#take(length)
  }

  #take(length: number): Buffer | undefined {
    if (length > this.#bytes.length - this.offset) return undefined
    const taken = this.#bytes.subarray(this.offset, this.offset + length)
    this.offset += length
    return taken
  }
}
