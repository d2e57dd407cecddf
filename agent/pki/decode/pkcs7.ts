// Opens a PKCS#7 (CMS) SignedData container, as Windows exports chains and authorities serve them: the certificates in
// it, nothing else. Its signatures are not looked at: what a file may be trusted for is decided by who declares it.
import { type BerElement, berChildren, readBer } from '../encoding/ber.ts'
import { dottedOid, TAG } from '../encoding/der.ts'

const SIGNED_DATA = '1.2.840.113549.1.7.2'
const EXPLICIT = 0xa0
const CERTIFICATES = 0xa0

/** The bytes of each certificate in it; `undefined`: no such container, or a broken one. */
export function certificatesInPkcs7(bytes: Buffer): readonly Buffer[] | undefined {
  const [type, content] = berChildren(readBer(bytes), TAG.sequence) ?? []
  if (type?.tag !== TAG.oid || dottedOid(type.content) !== SIGNED_DATA) return undefined
  const [signedData] = berChildren(content, EXPLICIT) ?? []
  const fields = berChildren(signedData, TAG.sequence)
  if (fields === undefined) return undefined
  // version, digest algorithms and the signed content come before them.
  const certificates = fields.slice(3).find(({ tag }) => tag === CERTIFICATES)
  return certificates === undefined ? [] : berChildren(certificates, CERTIFICATES)?.map(({ raw }: BerElement) => raw)
}
