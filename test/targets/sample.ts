// Desired states for the tests of targets and runs, with real certificates made by openssl.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type Certificate,
  type DesiredState,
  nothingDesired,
  type Registry,
  type TrustAnchor,
} from '../../agent/model/desired-state.ts'
import type { AgentState } from '../../agent/model/state.ts'
import { decodeCertificates } from '../../agent/pki/decode.ts'
import type { TargetInput } from '../../agent/targets/target.ts'

/** A fresh self-signed CA, as the decoder gives it. */
export function makeCa(commonName: string): Certificate {
  const folder = mkdtempSync(join(tmpdir(), 'registry-trust-ca-'))
  try {
    const out = join(folder, 'ca.pem')
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', join(folder, 'key')]
    execFileSync('openssl', ['req', '-x509', ...key, '-subj', `/CN=${commonName}`, '-days', '30', '-out', out], {
      stdio: 'ignore',
    })
    const [certificate] = decodeCertificates(readFileSync(out)).certificates
    if (certificate === undefined) throw new Error('openssl made no certificate')
    return certificate
  } finally {
    rmSync(folder, { recursive: true })
  }
}

export function anchor(name: string, ...certificates: readonly Certificate[]): TrustAnchor {
  return { name, source: `${name}.pem`, certificates, problems: [] }
}

export function registry(host: string, ...anchors: readonly string[]): Registry {
  return { host, anchors, proof: { level: 'manifest', everyMs: 600_000 }, source: 'trust.yaml:1:1' }
}

export function desired(parts: Partial<DesiredState> = {}): DesiredState {
  return { ...nothingDesired(undefined), generation: 'aaaaaaaaaaaa', sources: ['trust.yaml'], ...parts }
}

/** What a target is given in a run where nothing is in doubt. */
export function targetInput(wanted: DesiredState, owned: AgentState['owned'] = {}): TargetInput {
  return { desired: wanted, owned, unverified: new Set(), migrateAll: false }
}
