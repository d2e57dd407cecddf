// Whether the Go that containerd is built with reads a certificate (crypto/x509 ParseCertificate). A CA file whose only
// certificate Go does not read makes every pull from that registry fail ("unable to load CA cert"), so such a
// certificate must never reach a node. OpenSSL reads much that Go refuses. test/pki/go compares these rules with the
// real containerd of each release.
// This room: certificates as Go's crypto/x509 reads them: what it refuses is refused here, with its reason.
// Begin here; then refusal.ts (the reasons), extensions.ts.
// May touch: nothing: bytes go in.
import { TAG } from '../encoding/der.ts'
import { checkDistinguishedName } from './distinguished-name.ts'
import { checkExtensions } from './extensions.ts'
import { checkPublicKey, isNegative, readAlgorithm } from './public-key.ts'
import { constructedTag, contextTag, DerReader } from './reader.ts'
import { GO_RELEASES, type GoVersion, must, Refusal } from './refusal.ts'
import { readTime } from './time.ts'

export type GoRefusal = {
  /** Continues "the certificate cannot be used: "; of the newest release that refuses. */
  readonly reason: string
  /** The releases that refuse the certificate, oldest first; never empty. */
  readonly refusedBy: readonly GoVersion[]
}

/** Why the Go of at least one containerd line refuses the certificate; `undefined`: each of them reads it. */
export function whyGoRefuses(der: Buffer): GoRefusal | undefined {
  const refusals = GO_RELEASES.flatMap(({ go }) => {
    const reason = refusalOf(der, go)
    return reason === undefined ? [] : [{ go, reason }]
  })
  const last = refusals.at(-1)
  return last && { reason: last.reason, refusedBy: refusals.map(({ go }) => go) }
}

/** The reason in a sentence that names the releases where they differ. */
export function refusalText({ reason, refusedBy }: GoRefusal): string {
  if (refusedBy.length === GO_RELEASES.length) return reason
  const [refusing, reading] = [true, false].map((refuses) =>
    GO_RELEASES.filter(({ go }) => refusedBy.includes(go) === refuses)
      .map(({ go, containerd }) => `Go ${go} (containerd ${containerd})`)
      .join(' and '),
  )
  return `${reason}; refused by ${refusing}, read by ${reading}`
}

function refusalOf(der: Buffer, go: GoVersion): string | undefined {
  try {
    checkCertificate(der, go)
    return undefined
  } catch (error) {
    if (error instanceof Refusal) return error.message
    throw error
  }
}

/** @throws Refusal at the first thing that Go does not read. */
function checkCertificate(der: Buffer, go: GoVersion): void {
  const whole = new DerReader(der, go)
  const outer = whole.sequence('it is not one DER SEQUENCE')
  must(whole.isEmpty, 'bytes follow it')
  const body = outer.sequence('what is signed of it is malformed')
  const version = readVersion(body)
  const serial = body.integer('its serial number is malformed')
  // Go read negative numbers until 1.22.
  if (go !== '1.19') must(!isNegative(serial), 'its serial number is negative')
  checkAlgorithms(body, outer, go)
  checkDistinguishedName(body.raw(TAG.sequence, 'its issuer is malformed'), go)
  const validity = body.sequence('its validity is malformed')
  readTime(validity, go)
  readTime(validity, go)
  checkDistinguishedName(body.raw(TAG.sequence, 'its subject is malformed'), go)
  checkPublicKey(body.raw(TAG.sequence, 'its key is malformed'), go)
  if (version > 1) for (const tag of [contextTag(1), contextTag(2)]) body.optional(tag, 'its unique IDs are malformed')
  const extensions = version === 3 ? body.optional(constructedTag(3), 'its extensions are malformed') : undefined
  if (extensions !== undefined) checkExtensions(extensions, go)
  outer.bitString('its signature is malformed')
}

/** 1, 2 or 3. */
function readVersion(body: DerReader): number {
  const reason = 'its version is malformed'
  const explicit = body.optional(constructedTag(0), reason)
  if (explicit === undefined) return 1
  const version = explicit.int64(reason)
  // Go adds one before it compares, and its largest integer becomes its smallest.
  if (version === 2n ** 63n - 1n) return 1
  must(explicit.isEmpty && version >= 0n && version <= 2n, reason)
  return Number(version) + 1
}

function checkAlgorithms(body: DerReader, outer: DerReader, go: GoVersion): void {
  const inside = body.content(TAG.sequence, 'its signature algorithm is malformed')
  const outside = outer.content(TAG.sequence, 'its signature algorithm is malformed')
  must(inside.equals(outside), 'its inner and outer signature algorithms differ')
  readAlgorithm(new DerReader(inside, go), 'its signature algorithm')
}
