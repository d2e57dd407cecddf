// "certificate signed by unknown authority" is all that containerd says. Here: whose signature it is, where the chain
// breaks off, and which of the declared certificates comes closest and why it does not fit. A missing intermediate is
// claimed only where one was really found.
import { type Evidence, type Finding, finding } from '../../model/finding.ts'
import { nearest } from '../../text/did-you-mean.ts'
import { type ChainCertificate, shortName } from '../certificate/chain-certificate.ts'
import { day, quoted } from './phrases.ts'
import type { ChainAnswer, ChainQuestion } from './question.ts'
import { SYSTEM, type TrustedRoot } from './roots.ts'
import { type Failure, type Hint, verifyChain, whyNotSignedBy } from './verify.ts'

type UnknownAuthority = Extract<Failure, { kind: 'unknown-authority' }>

type Context = {
  readonly question: ChainQuestion
  readonly leaf: ChainCertificate
  readonly intermediates: readonly ChainCertificate[]
  readonly evidence: Evidence
}

export function explainUnknownAuthority(failure: UnknownAuthority, context: Context): ChainAnswer {
  const { question, evidence } = context
  const top = topOf(context)
  const missing = missingIntermediate(context)
  const found =
    weakSignature(failure.hint, context) ??
    missing ??
    anchorOfAnotherHost(context) ??
    undeclared(top, failure.hint, context)
  return {
    finding: {
      ...found,
      evidence: { ...evidence, ...found.evidence, notes: [...(evidence.notes ?? []), ...(found.evidence.notes ?? [])] },
    },
    verifiedBy: null,
    issuerUrls: missing === undefined && !top.isSelfSigned && question.fetched === undefined ? top.issuerUrls : [],
    unexpectedIssuer: top.isSelfSigned ? top.publicKeyInfo : `${top.rawIssuer}/${top.authorityKeyId}`,
  }
}

/** The highest certificate that the served ones lead to. */
function topOf({ leaf, intermediates }: Context): ChainCertificate {
  let top = leaf
  for (let steps = 0; steps < intermediates.length; steps += 1) {
    const child = top
    const parent = intermediates.find(
      (one) => one.rawSubject === child.rawIssuer && one !== child && whyNotSignedBy(child, one) === undefined,
    )
    if (parent === undefined || child.isSelfSigned) break
    top = parent
  }
  return top
}

function weakSignature(hint: Hint | undefined, { question, leaf }: Context): Finding | undefined {
  if (hint?.reason.kind !== 'insecure-algorithm') return undefined
  const text = `the chain of ${question.registry} is signed with ${hint.reason.algorithm}, which containerd no longer accepts (by ${quoted(hint.candidate)})`
  const isLeaf = leaf.signature.strength === 'insecure'
  const remedy = isLeaf
    ? `Have the certificate of ${question.registry} reissued with SHA-256 or better.`
    : `Have the intermediate certificate reissued with SHA-256 or better, or declare it as an anchor of ${question.registry}.`
  return { ...finding('weak-signature', text), remedy }
}

function missingIntermediate(context: Context): Finding | undefined {
  const { question, leaf, intermediates } = context
  const known = [...(question.fetched ?? []), ...(question.otherAnchors ?? []).map(({ certificate }) => certificate)]
  if (known.length === 0) return undefined
  const roots = question.roots.map(({ certificate }) => certificate)
  const { host, now } = question
  const verdict = verifyChain({ leaf, intermediates: [...intermediates, ...known], roots, host, now })
  if (!verdict.ok) return undefined
  const isServed = (one: ChainCertificate) =>
    [leaf, ...intermediates].some((other) => other.fingerprint === one.fingerprint)
  const isRoot = (one: ChainCertificate) => roots.some((other) => other.fingerprint === one.fingerprint)
  const [path = []] = verdict.paths
  const absent = path.filter((one) => !isServed(one) && !isRoot(one))
  const [first] = absent
  const root = path.at(-1)
  if (first === undefined || root === undefined) return undefined
  const source = question.fetched?.includes(first)
    ? 'its address is in the served certificate'
    : 'it is declared as another anchor'
  const text = `${question.registry} does not send its intermediate certificate ${absent.map(quoted).join(', ')}, which leads to the trusted ${quoted(root)}`
  return finding('missing-intermediate', text, { notes: [`the intermediate certificate was found: ${source}`] })
}

function anchorOfAnotherHost({ question, leaf, intermediates }: Context): Finding | undefined {
  const { otherAnchors = [], host, now, registry } = question
  const fitting = otherAnchors.find(({ certificate }) => {
    return verifyChain({ leaf, intermediates, roots: [certificate], host, now }).ok
  })
  if (fitting === undefined) return undefined
  const text = `the anchor ${fitting.origin} (${quoted(fitting.certificate)}) verifies ${registry}, but is not declared for it`
  return { ...finding('unknown-authority', text), remedy: `Add ${fitting.origin} to the anchors of ${registry}.` }
}

function undeclared(top: ChainCertificate, hint: Hint | undefined, context: Context): Finding {
  const { question, leaf } = context
  const { registry } = question
  const closest = closestAnchor(top, hint, question)
  const say = (text: string, remedy: string): Finding => {
    const message = closest === undefined ? text : `${text}; ${closest}`
    return { ...finding('unknown-authority', message), remedy }
  }
  if (top.isSelfSigned && top.fingerprint === leaf.fingerprint) {
    const text = `${registry} shows a self-signed certificate, ${quoted(leaf)}, which is not trusted here`
    return say(
      text,
      `Compare the fingerprint with the server's, then declare this certificate as an anchor of ${registry}.`,
    )
  }
  if (top.isSelfSigned) {
    const text = `the chain of ${registry} ends in the root ${quoted(top)}, which is not trusted here`
    return say(text, `Compare the fingerprint with its owner, then declare that root as an anchor of ${registry}.`)
  }
  const keyId = top.authorityKeyId === '' ? '' : `, key id ${top.authorityKeyId}`
  const which =
    top.fingerprint === leaf.fingerprint
      ? `the certificate of ${registry}`
      : `${quoted(top)} in the chain of ${registry}`
  const text = `${which} is issued by "${issuerName(top)}"${keyId}, which is neither served nor trusted here`
  return say(
    text,
    `Declare the certificate of "${issuerName(top)}", or of the root above it if the server is to send it, as an anchor of ${registry}.`,
  )
}

/** The common name in an issuer as it is shown, or all of it. */
function issuerName({ issuer }: ChainCertificate): string {
  return /(?:^|, )CN=(.*?)(?=, [A-Za-z.]+=|$)/.exec(issuer)?.[1] ?? (issuer || 'an authority without a name')
}

function closestAnchor(top: ChainCertificate, hint: Hint | undefined, question: ChainQuestion): string | undefined {
  const { roots, otherAnchors = [], now, registry, isDeclared } = question
  if (hint !== undefined) return misfit(hint, roots)
  const declared = [...roots.filter(({ origin }) => origin !== SYSTEM), ...otherAnchors]
  const wanted = top.isSelfSigned ? shortName(top) : issuerName(top)
  const names = declared.map(({ certificate }) => shortName(certificate))
  const name = nearest(wanted, names)
  const alike = declared.find(({ certificate }) => shortName(certificate) === name)
  const only = alike ?? (declared.length === 1 ? declared[0] : undefined)
  if (only !== undefined) return `you declared ${quoted(only.certificate)}, ${validity(only.certificate, now)}`
  if (declared.length === 0) return isDeclared ? `no anchor is declared for ${registry}` : undefined
  const shown = declared.slice(0, 3).map(({ certificate }) => `"${shortName(certificate)}"`)
  return `you declared ${shown.join(', ')}${declared.length > 3 ? ` and ${declared.length - 3} more` : ''}`
}

function validity({ notBefore, notAfter }: ChainCertificate, now: number): string {
  if (now > notAfter) return `which expired ${day(notAfter)}`
  if (now < notBefore) return `which is valid only from ${day(notBefore)} on`
  return `valid until ${day(notAfter)}`
}

/** A certificate of the right name that did not issue it. */
function misfit({ candidate, reason }: Hint, roots: readonly TrustedRoot[]): string {
  const root = roots.find(({ certificate }) => certificate.fingerprint === candidate.fingerprint)
  const where = root === undefined ? 'the server sends' : root.origin === SYSTEM ? 'this node trusts' : 'you declared'
  const who = `${where} ${quoted(candidate)}`
  switch (reason.kind) {
    case 'other-key':
      return `${who}, which has that name but another key: the authority was renewed with a new key`
    case 'may-not-sign':
      return `${who}, which has that name but may not sign certificates (it is not a CA, or its keyUsage lacks keyCertSign)`
    case 'unknown-algorithm':
      return `${who}, but the signature algorithm ${reason.algorithm} is unknown to containerd`
    default:
      return `${who}, which has that name but cannot be used`
  }
}
