// Reads the server's certificates out of the recorded bytes of a TLS handshake. Node shows only a chain that it has
// linked by itself: what was sent in which order, what is sent twice or does not belong, is exactly what a diagnosis is
// about. Hostile bytes give less, never an exception. TLS 1.2 sends certificates in the clear; for 1.3 the caller hands
// in its own secret.
import { createDecipheriv, createHmac } from 'node:crypto'

export type Transcript = {
  /** DER, in the order sent. */
  readonly chain: readonly Buffer[]
  readonly wantsClientCertificate: boolean
}

const RECORD_HANDSHAKE = 22
const RECORD_DATA = 23
const RECORD_CHANGE_CIPHER = 20
const SERVER_HELLO = 2
const CERTIFICATE = 11
const CERTIFICATE_REQUEST = 13
const FINISHED = 20
const MOST_CERTIFICATES = 100

/** `secret`: SERVER_HANDSHAKE_TRAFFIC_SECRET, as the key log tells it; needed for TLS 1.3 alone. */
export function readTranscript(bytes: Buffer, secret: Buffer | undefined): Transcript {
  let handshake = Buffer.alloc(0)
  let decrypt: Decrypt | undefined
  let isThirteen = false
  for (const record of records(bytes)) {
    if (record.type === RECORD_HANDSHAKE) {
      handshake = Buffer.concat([handshake, record.content])
      const hello = messages(handshake).findLast(({ type }) => type === SERVER_HELLO)
      const cipher = hello && cipherOfThirteen(hello.body)
      if (cipher !== undefined) {
        isThirteen = true
        decrypt = secret && decryption(cipher, secret)
      }
    } else if (record.type === RECORD_DATA && decrypt !== undefined) {
      const inner = decrypt(record)
      if (inner === undefined) break
      if (inner.type === RECORD_HANDSHAKE) handshake = Buffer.concat([handshake, inner.content])
      if (messages(handshake).some(({ type }) => type === FINISHED)) break
    } else if (record.type !== RECORD_CHANGE_CIPHER || !isThirteen) break
  }
  const all = messages(handshake)
  const certificate = all.find(({ type }) => type === CERTIFICATE)
  return {
    chain: certificate === undefined ? [] : certificates(certificate.body, isThirteen),
    wantsClientCertificate: all.some(({ type }) => type === CERTIFICATE_REQUEST),
  }
}

type Record = { readonly type: number; readonly header: Buffer; readonly content: Buffer }

function* records(bytes: Buffer): Generator<Record> {
  for (let at = 0; at + 5 <= bytes.length; ) {
    const end = at + 5 + bytes.readUInt16BE(at + 3)
    if (end > bytes.length) return
    yield { type: bytes[at] ?? 0, header: bytes.subarray(at, at + 5), content: bytes.subarray(at + 5, end) }
    at = end
  }
}

type Message = { readonly type: number; readonly body: Buffer }

function messages(handshake: Buffer): readonly Message[] {
  const found: Message[] = []
  for (let at = 0; at + 4 <= handshake.length; ) {
    const end = at + 4 + handshake.readUIntBE(at + 1, 3)
    if (end > handshake.length) break
    found.push({ type: handshake[at] ?? 0, body: handshake.subarray(at + 4, end) })
    at = end
  }
  return found
}

function certificates(body: Buffer, isThirteen: boolean): readonly Buffer[] {
  const chain: Buffer[] = []
  // In 1.3 a context comes first, and extensions follow each certificate.
  const start = isThirteen ? 1 + (body[0] ?? 0) : 0
  for (let at = start + 3; at + 3 <= body.length && chain.length < MOST_CERTIFICATES; ) {
    const end = at + 3 + body.readUIntBE(at, 3)
    if (end > body.length) break
    chain.push(Buffer.from(body.subarray(at + 3, end)))
    at = end
    if (!isThirteen) continue
    if (end + 2 > body.length) break
    at = end + 2 + body.readUInt16BE(end)
  }
  return chain
}

type Cipher = {
  readonly name: 'aes-128-gcm' | 'aes-256-gcm' | 'chacha20-poly1305'
  readonly keyBytes: number
  readonly hash: string
}

const CIPHERS: { readonly [suite: number]: Cipher } = {
  4865: { name: 'aes-128-gcm', keyBytes: 16, hash: 'sha256' },
  4866: { name: 'aes-256-gcm', keyBytes: 32, hash: 'sha384' },
  4867: { name: 'chacha20-poly1305', keyBytes: 32, hash: 'sha256' },
}

/** The suite of a ServerHello that agrees on TLS 1.3; `undefined`: on an older version. */
function cipherOfThirteen(hello: Buffer): Cipher | undefined {
  const afterSession = 35 + (hello[34] ?? 0)
  if (afterSession + 5 > hello.length) return undefined
  const suite = hello.readUInt16BE(afterSession)
  for (let at = afterSession + 5; at + 4 <= hello.length; ) {
    const isVersion = hello.readUInt16BE(at) === 43
    const length = hello.readUInt16BE(at + 2)
    if (isVersion && length === 2 && at + 6 <= hello.length) {
      return hello.readUInt16BE(at + 4) === 0x0304 ? CIPHERS[suite] : undefined
    }
    at += 4 + length
  }
  return undefined
}

type Decrypt = (record: Record) => { readonly type: number; readonly content: Buffer } | undefined

/** RFC 8446, 5.2 and 7.3: the keys of the server's handshake records, counted from 0. */
function decryption(cipher: Cipher, secret: Buffer): Decrypt {
  const key = expandLabel(secret, 'key', cipher.keyBytes, cipher.hash)
  const iv = expandLabel(secret, 'iv', 12, cipher.hash)
  let sequence = 0n
  return ({ header, content }) => {
    const nonce = Buffer.from(iv)
    nonce.writeBigUInt64BE(nonce.readBigUInt64BE(4) ^ sequence, 4)
    sequence += 1n
    if (content.length < 17) return undefined
    try {
      const options = { authTagLength: 16 }
      // One call for three algorithms: the types know only one at a time.
      const decipher =
        cipher.name === 'chacha20-poly1305'
          ? createDecipheriv(cipher.name, key, nonce, options)
          : createDecipheriv(cipher.name, key, nonce, options)
      decipher.setAAD(header, { plaintextLength: content.length - 16 }).setAuthTag(content.subarray(-16))
      const plain = Buffer.concat([decipher.update(content.subarray(0, -16)), decipher.final()])
      // Zeros pad the record; the last other byte is its real type.
      const end = plain.findLastIndex((byte) => byte !== 0)
      return end < 0 ? undefined : { type: plain[end] ?? 0, content: plain.subarray(0, end) }
    } catch {
      // Already a record of the next key: nothing of the handshake follows.
      return undefined
    }
  }
}

/** HKDF-Expand-Label for at most one block of output. */
function expandLabel(secret: Buffer, label: string, length: number, hash: string): Buffer {
  const name = Buffer.from(`tls13 ${label}`)
  const info = Buffer.concat([Buffer.from([length >> 8, length & 0xff, name.length]), name, Buffer.from([0, 1])])
  return createHmac(hash, secret).update(info).digest().subarray(0, length)
}
