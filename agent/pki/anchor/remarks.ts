// What is worth knowing about a certificate that may well be used as an anchor: shown by `inspect`, never a reason to
// refuse it.
import { type Problem, problem } from '../../model/errors.ts'
import { addressText } from '../certificate/addresses.ts'
import type { DecodedCertificate } from '../certificate/certificate.ts'
import { type ChainCertificate, readChainCertificate } from '../certificate/chain-certificate.ts'
import type { Subtrees } from '../certificate/name-constraints.ts'
import { day } from '../chain/phrases.ts'

export type RemarkOptions = {
  /** Milliseconds since the epoch. */
  readonly now: number
  /** Fingerprints of the node's own trust store. */
  readonly system: ReadonlySet<string>
}

const SOON_MS = 60 * 86_400_000

export function remarksOn(certificate: DecodedCertificate, { now, system }: RemarkOptions): readonly Problem[] {
  const { place, subject, pem, fingerprint, isCa, isSelfSigned, issuer, notAfter } = certificate
  const who = `${place} (${subject || 'no subject'})`
  const read = readChainCertificate(Buffer.from(pem.replace(/-----[^-]+-----/g, ''), 'base64'))
  const chain = read.ok ? read.certificate : undefined
  const remarks: Problem[] = []
  const ends = Date.parse(notAfter)
  if (now <= ends && ends - now < SOON_MS) remarks.push(problem('ANCHOR_EXPIRES_SOON', `${who} expires on ${notAfter}`))
  if (isCa && !isSelfSigned)
    remarks.push(problem('ANCHOR_INTERMEDIATE', `${who} is an intermediate CA, issued by ${issuer}`))
  if (chain?.signature.strength === 'insecure') {
    remarks.push(problem('ANCHOR_WEAK_SIGNATURE', `${who} is signed with ${chain.signature.name}`))
  }
  const limits = chain === undefined ? undefined : constraintsText(chain)
  if (limits !== undefined) remarks.push(problem('ANCHOR_NAME_CONSTRAINED', `${who} may certify ${limits}`))
  if (system.has(fingerprint)) {
    remarks.push(problem('ANCHOR_ALREADY_TRUSTED', `${who} is already in this node's own trust store`))
  }
  return remarks
}

export function repeatedRemark({ place, subject, notAfter }: DecodedCertificate): Problem {
  const who = `${place} (${subject || 'no subject'}, until ${day(Date.parse(notAfter))})`
  return problem('ANCHOR_DUPLICATE', `${who} is in the input a second time`)
}

function constraintsText({ nameConstraints }: ChainCertificate): string | undefined {
  if (nameConstraints === undefined) return undefined
  const only = names(nameConstraints.permitted)
  const never = names(nameConstraints.excluded)
  const parts = [only === '' ? '' : `only ${only}`, never === '' ? '' : `anything but ${never}`].filter(Boolean)
  return parts.length === 0 ? 'only names of kinds that registries do not use' : parts.join(', and ')
}

function names({ dns, addresses, emails, uris }: Subtrees): string {
  const ranges = addresses.map(({ address, mask }) => `${addressText(address)}/${bits(mask)}`)
  return [...dns.map((name) => name || 'every name'), ...ranges, ...emails, ...uris].slice(0, 8).join(', ')
}

function bits(mask: Buffer): number {
  return [...mask].reduce((sum, byte) => sum + byte.toString(2).replaceAll('0', '').length, 0)
}
