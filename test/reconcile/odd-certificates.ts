// Certificates that are odd in ways the fixture library does not offer (dates of an authority, digests, name constraints, purposes …),
// made by the openssl program: independent of the code under test. The same shape as the fixtures', so that fault servers take them.
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type Certificate, daysFromNow } from '../node/certificates.ts'

const run = promisify(execFile)

export type OddOptions = {
  readonly issuer?: Certificate
  readonly extensions?: readonly string[]
  /** Days from now. */
  readonly from?: number
  readonly until?: number
  readonly digest?: 'sha1' | 'sha256' | 'sha384'
  readonly key?: 'ec' | 'rsa' | 'secp256k1'
  /** The key of another certificate, to make its twin. */
  readonly keyOf?: Certificate
  /** Sent after the certificate, in this order. */
  readonly sends?: readonly Certificate[]
}

const KEYS = {
  ec: ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'],
  secp256k1: ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:secp256k1'],
  rsa: ['-newkey', 'rsa:2048'],
} as const

export const AUTHORITY = ['basicConstraints = critical, CA:TRUE', 'keyUsage = critical, keyCertSign, cRLSign'] as const

export function serverFor(...hosts: readonly string[]): readonly string[] {
  const names = hosts.map((host) => `${/^[0-9.]+$/.test(host) ? 'IP' : 'DNS'}:${host}`)
  return ['basicConstraints = CA:FALSE', 'extendedKeyUsage = serverAuth', `subjectAltName = ${names.join(', ')}`]
}

/** Self-signed where no issuer is given. */
export async function certify(folder: string, name: string, options: OddOptions = {}): Promise<Certificate> {
  const { issuer, keyOf, sends = [], digest = 'sha256', extensions = AUTHORITY } = options
  const base = join(folder, randomBytes(6).toString('hex'))
  await mkdir(base)
  const [certFile, chainFile, config, request] = ['cert.pem', 'chain.pem', 'openssl.cnf', 'request.pem'].map((file) =>
    join(base, file),
  ) as [string, string, string, string]
  const keyFile = keyOf?.keyFile ?? join(base, 'key.pem')
  await writeFile(join(base, 'index'), '')
  await writeFile(config, configText(base, extensions))
  const key = keyOf === undefined ? [...KEYS[options.key ?? 'ec'], '-nodes', '-keyout', keyFile] : ['-key', keyFile]
  await run('openssl', ['req', '-new', '-utf8', '-config', config, ...key, '-subj', name, '-out', request])
  const signer =
    issuer === undefined ? ['-selfsign', '-keyfile', keyFile] : ['-cert', issuer.certFile, '-keyfile', issuer.keyFile]
  const dates = ['-startdate', stamp(options.from ?? -2), '-enddate', stamp(options.until ?? 365)]
  const files = ['-in', request, '-out', certFile]
  await run('openssl', ['ca', '-batch', '-notext', '-config', config, '-md', digest, ...signer, ...dates, ...files])
  const pem = await readFile(certFile, 'utf8')
  await writeFile(chainFile, [pem, ...sends.map((one) => one.pem)].join(''))
  return { name, certFile, keyFile, chainFile, pem }
}

function configText(folder: string, extensions: readonly string[]): string {
  return `[ca]
default_ca = this
[this]
database = ${join(folder, 'index')}
new_certs_dir = ${folder}
policy = anything
unique_subject = no
rand_serial = yes
x509_extensions = x
[anything]
organizationName = optional
commonName = optional
[req]
distinguished_name = name
string_mask = utf8only
[name]
[x]
${extensions.join('\n')}
[constraints]
permitted;DNS.0 = allowed.example.net
`
}

function stamp(days: number): string {
  return `${daysFromNow(days).toISOString().slice(0, 19).replace(/[-:T]/g, '')}Z`
}
