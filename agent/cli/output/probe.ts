// The text of `probe` and `inspect`: the verdict and what to do first, then the evidence, aligned.
import type { Problem } from '../../model/errors.ts'
import { provesTrust } from '../../model/finding.ts'
import type { ProbeReport } from '../../probe/probe.ts'
import type { Inspection } from './inspection.ts'
import { type Cell, harmless, type Paint, table } from './terminal.ts'

export function formatProbe(
  report: ProbeReport,
  { paint, hasConfig }: { readonly paint: Paint; readonly hasConfig: boolean },
): string {
  const { host, port, declared, finding, verifiedBy } = report
  const isTrusted = finding.code === 'trusted'
  const head: Cell[][] = [
    ['registry', `${host}${port === 443 ? '' : `:${port}`}`],
    [
      'declared',
      declared
        ? 'yes'
        : hasConfig
          ? 'no: all declared anchors were tried'
          : "no: there is no trust.yaml, so only the node's own trust store counts",
    ],
    [
      'verified by',
      verifiedBy === null ? 'nothing' : verifiedBy === 'system' ? "the node's own trust store" : `anchor ${verifiedBy}`,
    ],
    ['finding', { text: finding.code, style: isTrusted ? 'green' : 'red' }],
  ]
  const { text, notes = [] } = finding.evidence
  const lines = [
    ...(text === undefined ? [] : [`in detail: ${text}`]),
    ...notes.filter((note) => !/^served \d+:/.test(note)),
  ]
  const sections = [
    table(head, { paint }),
    `${harmless(finding.message)}\n${isTrusted ? '' : `  ${remedyLine(finding.remedy, paint)}\n`}${lines.map((line) => `  ${paint('dim', harmless(line))}\n`).join('')}`,
    formatChain(report, paint),
    formatRelated(report, paint),
  ]
  return sections.filter((section) => section !== '').join('\n')
}

function formatChain({ chain }: ProbeReport, paint: Paint): string {
  if (chain.length === 0) return ''
  const rows = chain.map(({ subject, issuer, notAfter, fingerprint }, index): readonly Cell[] => [
    String(index + 1),
    subject || 'no subject',
    issuer === subject ? 'itself' : issuer,
    notAfter.slice(0, 10),
    fingerprint,
  ])
  return `${paint('bold', 'CHAIN AS SERVED')}\n${table(rows, { header: ['', 'SUBJECT', 'ISSUED BY', 'UNTIL', 'FINGERPRINT'], indent: 2, paint })}`
}

function formatRelated({ related }: ProbeReport, paint: Paint): string {
  if (related.length === 0) return ''
  const rows = related.map(({ host, finding }): readonly Cell[] => {
    const isFine = finding.code === 'trusted'
    return [
      host,
      { text: finding.code, style: isFine ? 'green' : provesTrust(finding.code) ? 'yellow' : 'red' },
      finding.message,
    ]
  })
  const remedies = related
    .filter(({ finding }) => finding.code !== 'trusted')
    .map(({ host, finding }) => `  ${harmless(host)} ${remedyLine(finding.remedy, paint)}\n`)
  return `${paint('bold', 'WHAT A PULL MEETS BESIDES')}\n${table(rows, { indent: 2, paint })}${remedies.join('')}`
}

function remedyLine(remedy: string, paint: Paint): string {
  return `${paint('bold', 'fix:')} ${harmless(remedy)}`
}

export function formatInspection({ file, encoding, certificates, findings }: Inspection, paint: Paint): string {
  const form = encoding.length === 0 ? 'not recognised' : encoding.join(' > ')
  const count = certificates.length === 1 ? '1 certificate' : `${certificates.length} certificates`
  const rows = certificates.map(
    ({ subject, issuer, notBefore, notAfter, isCa, fingerprint }, index): readonly Cell[] => [
      String(index + 1),
      subject || 'no subject',
      issuer === subject ? 'itself' : issuer,
      `${notBefore.slice(0, 10)} to ${notAfter.slice(0, 10)}`,
      isCa ? 'CA' : { text: 'no CA', style: 'yellow' },
      fingerprint,
    ],
  )
  const header = ['', 'SUBJECT', 'ISSUED BY', 'VALID', 'KIND', 'FINGERPRINT']
  const list = rows.length === 0 ? '' : table(rows, { header, indent: 2, paint })
  return `${paint('bold', harmless(file))}  ${form}, ${count}\n${list}${findings.map((one) => formatFinding(one, paint)).join('')}`
}

function formatFinding({ code, message, remedy }: Problem, paint: Paint): string {
  return `  ${paint('yellow', harmless(code))}  ${harmless(message)}\n    ${remedyLine(remedy, paint)}\n`
}
