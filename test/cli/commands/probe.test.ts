import t from 'tap'
import { probeExit } from '../../../agent/cli/commands/probe.ts'
import { formatProbe } from '../../../agent/cli/output/probe.ts'
import { coloured, plain } from '../../../agent/cli/output/terminal.ts'
import { type FindingCode, finding } from '../../../agent/model/finding.ts'
import type { ProbeReport } from '../../../agent/probe/probe.ts'

const SERVED = {
  subject: 'CN=reg.example.net',
  issuer: 'CN=Corp Root',
  fingerprint: `sha256:${'ab'.repeat(32)}`,
  notBefore: '2026-01-01T00:00:00Z',
  notAfter: '2027-01-01T00:00:00Z',
}

function report(code: FindingCode, related: readonly FindingCode[] = []): ProbeReport {
  return {
    host: 'reg.example.net',
    port: 5000,
    declared: true,
    chain: [SERVED],
    verifiedBy: code === 'trusted' ? 'corp' : null,
    finding: finding(code, 'the message', { text: 'raw words', notes: ['served 1: CN=reg', 'a note'] }),
    related: related.map((one) => ({ host: 'other.example.net', finding: finding(one, `other: ${one}`) })),
  }
}

t.test('exits with 0 only when every host of a pull is trusted; logins and limits do not count', async (t) => {
  t.equal(probeExit(report('trusted')), 0)
  for (const code of ['unauthorized', 'forbidden', 'rate-limited', 'server-error', 'timeout', 'trusted'] as const) {
    t.equal(probeExit(report('trusted', [code])), 0, code)
  }
  t.equal(probeExit(report('trusted', ['trusted', 'token-host-untrusted'])), 3)
  t.equal(probeExit(report('trusted', ['blob-host-untrusted'])), 3)
  for (const code of ['unknown-authority', 'missing-intermediate', 'dns', 'timeout', 'plain-http'] as const) {
    t.equal(probeExit(report(code)), 3, code)
  }
})

t.test('the text says the verdict, what to do, and the evidence once', async (t) => {
  t.equal(
    formatProbe(report('unknown-authority', ['token-host-untrusted']), { paint: plain, hasConfig: true }),
    `registry     reg.example.net:5000
declared     yes
verified by  nothing
finding      unknown-authority

the message
  fix: Declare the CA that issued the server's certificate (and configure the server to send its intermediates): no declared CA verifies it.
  in detail: raw words
  a note

CHAIN AS SERVED
     SUBJECT             ISSUED BY     UNTIL       FINGERPRINT
  1  CN=reg.example.net  CN=Corp Root  2027-01-01  sha256:${'ab'.repeat(32)}

WHAT A PULL MEETS BESIDES
  other.example.net  token-host-untrusted  other: token-host-untrusted
  other.example.net fix: ${finding('token-host-untrusted', '').remedy}
`,
  )
  const trusted = formatProbe(report('trusted'), { paint: coloured, hasConfig: false })
  t.notMatch(trusted, /to do/)
  t.match(trusted, /verified by {2}anchor corp/)
  const undeclared = formatProbe({ ...report('dns'), declared: false, chain: [] }, { paint: plain, hasConfig: false })
  t.match(undeclared, /no: there is no trust\.yaml/)
  t.notMatch(undeclared, /CHAIN/)
})
