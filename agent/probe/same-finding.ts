// One diagnosis for a pull and a look: containerd's verdict stands, and where its words fit several causes, a look of
// the agent's own tells which.
import { type Finding, type FindingCode, finding } from '../model/finding.ts'
import { isProbeReference } from '../model/image-reference.ts'
import { explainManifest, PROBE_MANIFEST } from './follow-ups.ts'
import { inspectChain, type ProbeOptions, type ProbePorts, type Trust, targetOf } from './handshake.ts'
import { type ProbeReport, probeRegistry } from './probe.ts'

/**
 * What a look may make of containerd's finding: causes for which containerd has the same words. Nothing else is
 * replaced.
 */
const CAUSES: { readonly [code in FindingCode]?: readonly FindingCode[] } = {
  'unknown-authority': ['missing-intermediate'],
  'not-a-registry': ['client-certificate-required', 'login-page', 'proxy-error', 'redirect-loop'],
  forbidden: ['client-certificate-required', 'proxy-error'],
  'server-error': ['proxy-error'],
  'connection-closed': ['client-certificate-required'],
  unclassified: [
    'client-certificate-required',
    'connection-closed',
    'login-page',
    'not-a-registry',
    'not-tls',
    'plain-http-redirect',
    'proxy-error',
    'redirect-loop',
  ],
}

/** The one finding that stands for the pull: the TLS verdict, else the first thing wrong that the follow-ups found. */
export function pullFinding({ finding, related }: Pick<ProbeReport, 'finding' | 'related'>): Finding {
  if (finding.code !== 'trusted') return finding
  return related.find((one) => one.finding.code !== 'trusted')?.finding ?? finding
}

/**
 * The finding of a pull of `reference`, made more exact where a look can. Never throws, and never waits longer than
 * `options` say: one
 * look, without a login. A look that fails, or goes another way than containerd, changes nothing.
 */
export async function withCause(
  pulled: Finding,
  request: {
    readonly registry: string
    readonly trust: () => Promise<Trust>
    readonly reference: string
  },
  ports: ProbePorts,
  options: ProbeOptions,
): Promise<Finding> {
  const { registry, trust, reference } = request
  if (pulled.code === 'trusted')
    return isProbeReference(reference) ? await aPageAfterAll(pulled, registry, ports, options) : pulled
  if (CAUSES[pulled.code] === undefined) return pulled
  // What it serves says all: a server that is not trusted is asked nothing, not even without a login.
  if (pulled.code === 'unknown-authority')
    return moreExact(pulled, (await inspectChain(registry, await trust(), ports, options)).verdict)
  const seen = pullFinding(await probeRegistry({ registry, trust: await trust() }, ports, options))
  return moreExact(pulled, seen)
}

/** What was seen, where it is a cause of what containerd says; else containerd's own finding. */
export function moreExact(pulled: Finding, seen: Finding): Finding {
  return isCauseOf(seen.code, pulled.code) ? withEvidence(seen, pulled) : pulled
}

/** Whether containerd may say `said` of what a look finds to be `seen`. */
export function isCauseOf(seen: string, said: string): boolean {
  if (said === 'trusted') return seen === 'not-a-registry'
  const causes: readonly string[] = CAUSES[said as FindingCode] ?? []
  return causes.includes(seen)
}

/**
 * For containerd, which has verified the certificate, every 404 says that the image does not exist: that of a web
 * server too.
 */
async function aPageAfterAll(
  pulled: Finding,
  registry: string,
  { tls }: ProbePorts,
  options: ProbeOptions,
): Promise<Finding> {
  const request = { path: PROBE_MANIFEST }
  const sight = await tls.inspect(targetOf(registry), { ...options, request, isAnswerOnly: true })
  if (sight.answer?.status !== 404) return pulled
  const said = explainManifest(sight.answer, registry, sight)
  return said === undefined ? pulled : withEvidence(said, pulled)
}

function withEvidence(seen: Finding, { evidence }: Finding): Finding {
  const notes = [...(evidence.notes ?? []), ...(seen.evidence.notes ?? [])]
  return finding(seen.code, seen.message, { ...seen.evidence, ...evidence, ...(notes.length > 0 && { notes }) })
}
