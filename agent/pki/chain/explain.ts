// Why a served chain does or does not verify, in words a person can act on: which anchor verifies it; or what is
// missing and what comes closest. The code of the finding is the class of the error that containerd gives for the same
// server; the words say more.
import { type Evidence, type Finding, type FindingCode, finding } from '../../model/finding.ts'
import { type ChainCertificate, readChainCertificate, shortName } from '../certificate/chain-certificate.ts'
import type { HostMismatch } from '../certificate/host-name.ts'
import { explainUnknownAuthority } from './explain-authority.ts'
import { day, instant, quoted, served } from './phrases.ts'
import type { ChainAnswer, ChainQuestion } from './question.ts'
import { SYSTEM } from './roots.ts'
import { type Failure, type Verdict, verifyChain } from './verify.ts'

export function explainChain(question: ChainQuestion): ChainAnswer {
  const { chain, registry } = question
  const read = chain.map(readChainCertificate)
  const evidence: Evidence = { notes: read.map((one, index) => served(index, one)) }
  const unreadable = read.findIndex((one) => !one.ok)
  const [leaf, ...intermediates] = read.flatMap((one) => (one.ok ? [one.certificate] : []))
  const broken = read[unreadable]
  if (broken !== undefined && !broken.ok) {
    const text = `containerd cannot read certificate ${unreadable + 1} of ${chain.length} that ${registry} shows: ${broken.reason}`
    const remedy = `Have that certificate of ${registry} reissued; Go programs such as containerd refuse it in this form.`
    return no({ ...finding('unknown-authority', text, evidence), remedy })
  }
  if (leaf === undefined) return no(finding('unknown-authority', `${registry} shows no certificate at all`, evidence))
  const roots = question.roots.map(({ certificate }) => certificate)
  const options = { leaf, intermediates, roots, host: question.host, now: question.now }
  const verdict = verifyChain(options)
  if (verdict.ok) return explainTrust(verdict, question, evidence)
  const answer =
    verdict.failure.kind === 'unknown-authority'
      ? explainUnknownAuthority(verdict.failure, { question, leaf, intermediates, evidence })
      : no(explainFailure(verdict.failure, question, leaf, evidence))
  const also = whatElse(verdict.failure, options)
  return { ...answer, finding: withNotes(answer.finding, also) }
}

function no(found: Finding): ChainAnswer {
  return { finding: found, verifiedBy: null, issuerUrls: [] }
}

export function withNotes(found: Finding, notes: readonly string[]): Finding {
  if (notes.length === 0) return found
  return { ...found, evidence: { ...found.evidence, notes: [...(found.evidence.notes ?? []), ...notes] } }
}

const SOON_MS = 30 * 86_400_000

function explainTrust(
  { paths }: Extract<Verdict, { ok: true }>,
  { registry, roots, isDeclared, now }: ChainQuestion,
  evidence: Evidence,
): ChainAnswer {
  const ends = paths.flatMap((path) => {
    const top = path.at(-1)
    return roots
      .filter(({ certificate }) => certificate.fingerprint === top?.fingerprint)
      .map((root) => ({ root, path }))
  })
  const best = ends.find(({ root }) => root.origin !== SYSTEM) ?? ends[0]
  if (best === undefined) return no(finding('unclassified', `the chain of ${registry} verifies, but by no known root`))
  const { origin, certificate } = best.root
  const by = origin === SYSTEM ? "this node's own trust store" : `the anchor ${origin}`
  const message = `the certificate of ${registry} is verified by ${by}: ${quoted(certificate)}`
  const ending = best.path.toSorted((left, right) => left.notAfter - right.notAfter)[0]
  const hasAnchors = roots.some((root) => root.origin !== SYSTEM)
  const notes = [
    ...(origin === SYSTEM && isDeclared && hasAnchors
      ? ['the declared anchors do not verify it; the node trusts it anyway']
      : []),
    ...(origin !== SYSTEM && !isDeclared
      ? [`${registry} is not declared: add it to registries with anchors: [${origin}]`]
      : []),
    ...(ending !== undefined && ending.notAfter - now < SOON_MS
      ? [`${quoted(ending)} expires soon, on ${day(ending.notAfter)}`]
      : []),
  ]
  return { finding: withNotes(finding('trusted', message, evidence), notes), verifiedBy: origin, issuerUrls: [] }
}

/** Which certificate of the path it is, in words. */
function role(certificate: ChainCertificate, leaf: ChainCertificate, { registry, roots }: ChainQuestion): string {
  if (certificate.fingerprint === leaf.fingerprint) return `the certificate of ${registry}`
  const root = roots.find((one) => one.certificate.fingerprint === certificate.fingerprint)
  if (root === undefined) return `the intermediate CA ${quoted(certificate)} that ${registry} shows`
  const owner = root.origin === SYSTEM ? "of this node's own store" : `of the anchor ${root.origin}`
  return `the CA ${quoted(certificate)} ${owner}`
}

function explainFailure(
  failure: Exclude<Failure, { kind: 'unknown-authority' }>,
  question: ChainQuestion,
  leaf: ChainCertificate,
  evidence: Evidence,
): Finding {
  const { certificate } = failure
  const who = role(certificate, leaf, question)
  const say = (code: FindingCode, text: string, remedy?: string): Finding => {
    const found = finding(code, text, evidence)
    return remedy === undefined ? found : { ...found, remedy }
  }
  switch (failure.kind) {
    case 'expired': {
      const text = `${who} expired on ${instant(certificate.notAfter)}; this node's clock says ${instant(question.now)}`
      return say('expired', text, renewal(certificate, leaf, question))
    }
    case 'not-yet-valid': {
      const text = `${who} is valid only from ${instant(certificate.notBefore)} on; this node's clock says ${instant(question.now)}`
      return say('not-yet-valid', text)
    }
    case 'host':
      return explainHost(failure.mismatch, question, say)
    case 'unhandled-critical': {
      const text = `${who} carries the critical extension ${certificate.unhandledCritical.join(', ')}, which containerd does not know`
      return say('unknown-authority', text, 'Have the certificate reissued without that critical extension.')
    }
    case 'not-a-ca':
      return say(
        'unknown-authority',
        `${who} is used as an authority, but is not one (basicConstraints CA:TRUE is missing)`,
        CHAIN,
      )
    case 'path-too-long':
      return say('unknown-authority', `${who} allows fewer intermediate authorities below it than the chain has`, CHAIN)
    case 'name-constraint': {
      const text = `${who} may not certify this name: ${failure.violation} (name constraints)`
      return say(
        'unknown-authority',
        text,
        `Have the certificate issued by an authority that may certify ${question.host}.`,
      )
    }
    case 'key-usage': {
      const text = `a certificate in the chain of ${question.registry} is not meant for servers (extendedKeyUsage lacks serverAuth)`
      return say('unknown-authority', text, 'Have the certificate reissued with extendedKeyUsage serverAuth.')
    }
    case 'too-much-work':
      return say(
        'unknown-authority',
        `the chain of ${question.registry} needs more signature checks than containerd makes`,
        CHAIN,
      )
    default:
      throw failure satisfies never
  }
}

const CHAIN = "Have the server's chain reissued by an authority that may issue it."

function renewal(certificate: ChainCertificate, leaf: ChainCertificate, { registry, roots }: ChainQuestion): string {
  if (certificate.fingerprint === leaf.fingerprint) return `Renew the certificate of ${registry}.`
  const root = roots.find((one) => one.certificate.fingerprint === certificate.fingerprint)
  if (root === undefined) return `Let ${registry} serve the renewed certificate of ${shortName(certificate)}.`
  return `Declare the renewed certificate of ${shortName(certificate)} as an anchor of ${registry}.`
}

const MOST_NAMES = 8

function explainHost(
  mismatch: HostMismatch,
  { registry, host }: ChainQuestion,
  say: (code: FindingCode, text: string, remedy?: string) => Finding,
): Finding {
  const reissue = `Have the certificate reissued with subjectAltName ${host}`
  switch (mismatch.kind) {
    case 'common-name-only':
      return say(
        'no-san',
        `the certificate of ${registry} names ${host} in its common name only, which is not considered`,
        `${reissue}.`,
      )
    case 'no-addresses':
      return say(
        'no-san',
        `the certificate of ${registry} has no subjectAltName for the address ${host}`,
        `${reissue}, or use its name.`,
      )
    case 'no-names':
      return say('no-san', `the certificate of ${registry} carries no name at all`, `${reissue}.`)
    case 'other-names': {
      const shown = mismatch.names.slice(0, MOST_NAMES).join(', ')
      const more = mismatch.names.length > MOST_NAMES ? ` and ${mismatch.names.length - MOST_NAMES} more` : ''
      const text = `the certificate of ${registry} is valid for ${shown}${more}, not for ${host}`
      return say('hostname-mismatch', text, `${reissue}, or use one of the names it carries.`)
    }
    default:
      throw mismatch satisfies never
  }
}

/** What would be wrong still when this fault is repaired: all at once instead of one by one. */
function whatElse(failure: Failure, options: Parameters<typeof verifyChain>[0]): readonly string[] {
  const ignore: ('validity' | 'host')[] = []
  const notes: string[] = []
  for (let last = failure; ; ) {
    if (last.kind === 'expired' || last.kind === 'not-yet-valid') ignore.push('validity')
    else if (last.kind === 'host') ignore.push('host')
    else return notes
    const verdict = verifyChain({ ...options, ignore })
    if (verdict.ok) return notes
    last = verdict.failure
    notes.push(`besides, ${ALSO[last.kind]}`)
  }
}

const ALSO: { readonly [kind in Failure['kind']]: string } = {
  expired: 'a certificate of the chain has expired',
  'not-yet-valid': 'a certificate of the chain is not valid yet',
  host: 'its certificate is not valid for this name',
  'unhandled-critical': 'a certificate has a critical extension that containerd does not know',
  'not-a-ca': 'a certificate of the chain is used as an authority, but is not one',
  'path-too-long': 'the chain is longer than an authority in it allows',
  'name-constraint': 'an authority in the chain may not certify this name',
  'key-usage': 'a certificate of the chain is not meant for servers',
  'unknown-authority': 'no trusted authority verifies it',
  'too-much-work': 'the chain needs too many signature checks',
}
