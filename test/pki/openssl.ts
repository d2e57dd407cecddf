// Certificates for the tests, made by the openssl program: independent of the code under test.
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export function openssl(folder: string, ...args: readonly string[]): string {
  return execFileSync('openssl', args, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
}

const ALGORITHMS = {
  rsa: ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048'],
  'rsa-1024': ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:1024'],
  ec: ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256'],
  secp256k1: ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:secp256k1'],
  ed25519: ['-algorithm', 'ED25519'],
} as const

export type KeyKind = keyof typeof ALGORITHMS

export function createKey(folder: string, kind: KeyKind = 'ec'): string {
  const file = `${kind}.key`
  openssl(folder, 'genpkey', ...ALGORITHMS[kind], '-out', file)
  return file
}

/** A self-signed certificate; a CA unless `extensions` say otherwise. Returns the PEM. */
export function createRoot(folder: string, key: string, subject: string, ...more: readonly string[]): string {
  const extra = more.length > 0 ? more : ['-days', '30']
  return openssl(folder, 'req', '-x509', '-new', '-key', key, '-utf8', '-subj', subject, ...extra)
}

/** A certificate for `subject`, issued by the root in `rootPem`. Returns the PEM. */
export function issue(
  folder: string,
  key: string,
  rootPem: string,
  subject: string,
  extensions: readonly string[],
): string {
  writeFileSync(join(folder, 'issuer.pem'), rootPem)
  writeFileSync(join(folder, 'issue.cnf'), `[x]\n${extensions.join('\n')}\n`)
  openssl(folder, 'req', '-new', '-key', key, '-subj', subject, '-out', 'request.pem')
  const common = ['-in', 'request.pem', '-CA', 'issuer.pem', '-CAkey', key, '-days', '30']
  return openssl(folder, 'x509', '-req', ...common, '-set_serial', '7', '-extfile', 'issue.cnf', '-extensions', 'x')
}

export function derOf(pem: string): Buffer {
  return Buffer.from(pem.replace(/-----[^-]+-----/g, ''), 'base64')
}

export function pemOf(der: Buffer): string {
  const body = der.toString('base64').replace(/.{1,64}/g, '$&\n')
  return `-----BEGIN CERTIFICATE-----\n${body}-----END CERTIFICATE-----\n`
}

export function readIn(folder: string, name: string): Buffer {
  return readFileSync(join(folder, name))
}
