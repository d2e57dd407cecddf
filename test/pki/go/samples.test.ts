// Authorities that OpenSSL reads and containerd does not load.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { decodeCertificates } from '../../../agent/pki/decode/decode.ts'

const NEWER = 'refused by Go 1.24 (containerd 1.7) and Go 1.27 (containerd 2.1), read by Go 1.19 (containerd 1.6)'
const NEWEST = 'refused by Go 1.27 (containerd 2.1), read by Go 1.19 (containerd 1.6) and Go 1.24 (containerd 1.7)'

const REASONS: { readonly [sample: string]: string } = {
  'aia-critical': `its extension authorityInfoAccess is marked critical, which RFC 5280 forbids; ${NEWER}`,
  'ski-critical': `its extension subjectKeyIdentifier is marked critical, which RFC 5280 forbids; ${NEWER}`,
  'bc-pathlen-negative': `the path length of its basicConstraints is negative; ${NEWEST}`,
  'crit-true-01': 'the critical flag of one of its extensions is malformed',
  'crldp-bad': 'its extension cRLDistributionPoints is malformed',
  'nc-badmask': 'its extension nameConstraints holds an address range whose mask is not valid',
  'nc-ip-short': 'its extension nameConstraints holds an address range of 4 bytes',
  'san-badip': 'its extension subjectAltName holds an IP address of 8 bytes',
  'san-email-utf8': 'its extension subjectAltName holds an e-mail address with characters that are not ASCII',
  'san-uri-bad': 'its extension subjectAltName holds a URI that is not valid',
}

for (const [sample, reason] of Object.entries(REASONS)) {
  t.test(`refuses the authority ${sample}`, async (t) => {
    const pem = readFileSync(join(import.meta.dirname, '../../fixtures/pki/refused-by-go', `${sample}.pem`))
    const { certificates, problems } = decodeCertificates(pem)
    t.same(certificates, [])
    t.match(problems, [{ code: 'ANCHOR_UNUSABLE' }])
    t.ok(problems[0]?.message.endsWith(`cannot be used: ${reason}`), sample)
  })
}
