// Builds certificates byte by byte, to try what no program would issue. Written for the tests alone and independent of the code under test:
// it writes DER, the agent reads it.
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'

export type Pair = { readonly publicKey: KeyObject; readonly privateKey: KeyObject }

export function ecPair(): Pair {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' })
}

export function rsaPair(): Pair {
  return generateKeyPairSync('rsa', { modulusLength: 2048 })
}

export function ed25519Pair(): Pair {
  return generateKeyPairSync('ed25519')
}

export type Digest = 'sha1' | 'sha256' | 'sha384'

export type Blueprint = {
  /** Common name; '' for an empty name. */
  readonly subject: string
  readonly issuer: string
  readonly key: Pair
  readonly signer: Pair
  readonly notBefore: Date
  readonly notAfter: Date
  readonly extensions: readonly Buffer[]
  /** Default 3; version 1 has no extensions. */
  readonly version?: 1 | 3
  readonly digest?: Digest
}

let serial = 1

export function build(plan: Blueprint): Buffer {
  const { version = 3, digest = 'sha256', key, signer } = plan
  serial += 1
  const algorithm = algorithmOf(signer, digest)
  const body = der(
    0x30,
    ...(version === 3 ? [der(0xa0, integer(2))] : []),
    integer(serial),
    algorithm,
    name(plan.issuer),
    der(0x30, time(plan.notBefore), time(plan.notAfter)),
    name(plan.subject),
    key.publicKey.export({ type: 'spki', format: 'der' }),
    ...(version === 3 && plan.extensions.length > 0 ? [der(0xa3, der(0x30, ...plan.extensions))] : []),
  )
  const signature = sign(signer.privateKey.asymmetricKeyType === 'ed25519' ? null : digest, body, signer.privateKey)
  return der(0x30, body, algorithm, bits(signature))
}

export function toPem(certificate: Buffer): string {
  return `-----BEGIN CERTIFICATE-----\n${certificate.toString('base64').replace(/.{1,64}/g, '$&\n')}-----END CERTIFICATE-----\n`
}

export function keyPem({ privateKey }: Pair): string {
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
}

export const basicConstraints = (isCa: boolean, pathLength?: number): Buffer =>
  extension(
    '2.5.29.19',
    true,
    der(
      0x30,
      ...(isCa ? [der(1, Buffer.from([0xff]))] : []),
      ...(pathLength === undefined ? [] : [integer(pathLength)]),
    ),
  )

/** Bit 0 is digitalSignature, bit 5 keyCertSign. */
export const keyUsage = (...usages: readonly number[]): Buffer => {
  const byte = usages.reduce((sum, bit) => sum | (0x80 >> bit), 0)
  return extension('2.5.29.15', true, der(3, Buffer.from([0, byte])))
}

export const extendedKeyUsage = (...oids: readonly string[]): Buffer =>
  extension('2.5.29.37', false, der(0x30, ...oids.map(oid)))

export type AlternativeName = { readonly dns: string } | { readonly email: string } | { readonly ip: string }

export const alternativeNames = (names: readonly AlternativeName[], isCritical = false): Buffer =>
  extension('2.5.29.17', isCritical, der(0x30, ...names.map(generalName)))

function generalName(one: AlternativeName): Buffer {
  if ('dns' in one) return der(0x82, Buffer.from(one.dns))
  if ('email' in one) return der(0x81, Buffer.from(one.email))
  return der(0x87, Buffer.from(one.ip.split('.').map(Number)))
}

export const nameConstraints = (permitted: readonly string[], excluded: readonly string[]): Buffer => {
  const subtrees = (tag: number, names: readonly string[]) =>
    names.length === 0 ? [] : [der(tag, ...names.map((dns) => der(0x30, der(0x82, Buffer.from(dns)))))]
  return extension('2.5.29.30', true, der(0x30, ...subtrees(0xa0, permitted), ...subtrees(0xa1, excluded)))
}

export const subjectKeyId = (id: string): Buffer => extension('2.5.29.14', false, der(4, Buffer.from(id)))
export const authorityKeyId = (id: string): Buffer =>
  extension('2.5.29.35', false, der(0x30, der(0x80, Buffer.from(id))))
export const unknownExtension = (isCritical: boolean): Buffer => extension('1.2.3.4.5', isCritical, der(5))

export function extension(id: string, isCritical: boolean, value: Buffer): Buffer {
  return der(0x30, oid(id), ...(isCritical ? [der(1, Buffer.from([0xff]))] : []), der(4, value))
}

export function der(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts)
  if (content.length < 0x80) return Buffer.concat([Buffer.from([tag, content.length]), content])
  const length = Buffer.from(
    content.length.toString(16).padStart(content.length > 0xffff ? 6 : content.length > 0xff ? 4 : 2, '0'),
    'hex',
  )
  return Buffer.concat([Buffer.from([tag, 0x80 | length.length]), length, content])
}

export function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number)
  const bytes = [first * 40 + second, ...rest].flatMap((part) => {
    const groups = [part & 0x7f]
    for (let left = part >> 7; left > 0; left >>= 7) groups.unshift((left & 0x7f) | 0x80)
    return groups
  })
  return der(6, Buffer.from(bytes))
}

function integer(value: number): Buffer {
  const hex = value.toString(16)
  const bytes = Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex')
  return der(2, (bytes[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.from([0]), bytes]) : bytes)
}

function bits(bytes: Buffer): Buffer {
  return der(3, Buffer.from([0]), bytes)
}

function time(date: Date): Buffer {
  const text = date.toISOString().replace(/[-:T]|\.\d+/g, '')
  return date.getUTCFullYear() < 2050 ? der(0x17, Buffer.from(text.slice(2))) : der(0x18, Buffer.from(text))
}

function name(commonName: string): Buffer {
  if (commonName === '') return der(0x30)
  return der(0x30, der(0x31, der(0x30, oid('2.5.4.3'), der(0x0c, Buffer.from(commonName)))))
}

const ALGORITHMS: { readonly [kind: string]: { readonly [digest in Digest]: Buffer } } = {
  rsa: {
    sha1: der(0x30, oid('1.2.840.113549.1.1.5'), der(5)),
    sha256: der(0x30, oid('1.2.840.113549.1.1.11'), der(5)),
    sha384: der(0x30, oid('1.2.840.113549.1.1.12'), der(5)),
  },
  ec: {
    sha1: der(0x30, oid('1.2.840.10045.4.1')),
    sha256: der(0x30, oid('1.2.840.10045.4.3.2')),
    sha384: der(0x30, oid('1.2.840.10045.4.3.3')),
  },
}

function algorithmOf({ privateKey }: Pair, digest: Digest): Buffer {
  return ALGORITHMS[privateKey.asymmetricKeyType ?? '']?.[digest] ?? der(0x30, oid('1.3.101.112'))
}
