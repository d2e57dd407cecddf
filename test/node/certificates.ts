// Certificates for the fixtures, made by the openssl program: authorities, intermediates, and server certificates that are right or
// wrong in one chosen way. Independent of the agent's own pki code on purpose.
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

export type KeyKind = 'rsa' | 'ec'

export type Certificate = {
  readonly name: string
  readonly certFile: string
  readonly keyFile: string
  /** The certificate followed by its intermediates, as a server should send it. */
  readonly chainFile: string
  readonly pem: string
}

export type Authority = Certificate & { readonly parent?: Authority }

export type Validity = { readonly notBefore?: Date; readonly notAfter?: Date }

const DAY_MS = 86_400_000

/** A root, or an intermediate where `parent` is given. */
export async function createAuthority(
  folder: string,
  name: string,
  options: Validity & { readonly key?: KeyKind; readonly parent?: Authority } = {},
): Promise<Authority> {
  const extensions = [
    'basicConstraints = critical, CA:TRUE',
    'keyUsage = critical, keyCertSign, cRLSign',
    'subjectKeyIdentifier = hash',
  ]
  const subject = `/O=Registry Trust Fixtures/CN=${name}`
  const made = await make(folder, name, subject, extensions, options.parent, options)
  return options.parent === undefined ? made : { ...made, parent: options.parent }
}

/** A server certificate for these host names and IP addresses; expired or not yet valid by choice of the dates. */
export async function issueServer(
  authority: Authority,
  folder: string,
  hosts: readonly string[],
  options: Validity & { readonly key?: KeyKind; readonly commonNameOnly?: boolean } = {},
): Promise<Certificate> {
  return await make(
    folder,
    `server-${hosts[0] ?? 'nameless'}`,
    subjectOf(hosts),
    serverExtensions(hosts, options.commonNameOnly),
    authority,
    options,
  )
}

/** A server certificate that is its own issuer and no CA. */
export async function selfSignedServer(
  folder: string,
  hosts: readonly string[],
  options: Validity = {},
): Promise<Certificate> {
  return await make(
    folder,
    `self-${hosts[0] ?? 'nameless'}`,
    subjectOf(hosts),
    serverExtensions(hosts, false),
    undefined,
    options,
  )
}

export async function issueClient(authority: Authority, folder: string, name: string): Promise<Certificate> {
  const extensions = ['basicConstraints = CA:FALSE', 'extendedKeyUsage = clientAuth']
  return await make(folder, `client-${name}`, `/O=Registry Trust Fixtures/CN=${name}`, extensions, authority, {})
}

export function daysFromNow(days: number): Date {
  return new Date(Date.now() + days * DAY_MS)
}

function subjectOf(hosts: readonly string[]): string {
  return `/O=Registry Trust Fixtures/CN=${(hosts[0] ?? 'nameless').slice(0, 64)}`
}

function serverExtensions(hosts: readonly string[], commonNameOnly: boolean | undefined): string[] {
  const names = hosts.map((host) => `${isIP(host) === 0 ? 'DNS' : 'IP'}:${host}`)
  return [
    'basicConstraints = CA:FALSE',
    'keyUsage = critical, digitalSignature',
    'extendedKeyUsage = serverAuth',
    ...(commonNameOnly === true || names.length === 0 ? [] : [`subjectAltName = ${names.join(', ')}`]),
  ]
}

async function make(
  folder: string,
  name: string,
  subject: string,
  extensions: readonly string[],
  issuer: Authority | undefined,
  options: Validity & { readonly key?: KeyKind },
): Promise<Certificate> {
  await mkdir(folder, { recursive: true })
  const base = join(folder, `${name.replace(/[^A-Za-z0-9.-]/g, '_')}-${randomBytes(3).toString('hex')}`)
  const [certFile, keyFile, chainFile] = [`${base}.pem`, `${base}.key`, `${base}.chain.pem`]
  const [request, database, config] = [`${base}.csr`, `${base}.db`, `${base}.cnf`]
  const key = (options.key ?? 'ec') === 'rsa' ? ['rsa:2048'] : ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256']
  await writeFile(database, '')
  await writeFile(config, configText(database, folder, extensions))
  await openssl(
    'req',
    '-new',
    '-config',
    config,
    '-newkey',
    ...key,
    '-nodes',
    '-keyout',
    keyFile,
    '-out',
    request,
    '-subj',
    subject,
  )
  // `openssl ca` is the one command of all OpenSSL 1.1 and 3 versions that takes both dates
  const signer =
    issuer === undefined ? ['-selfsign', '-keyfile', keyFile] : ['-cert', issuer.certFile, '-keyfile', issuer.keyFile]
  const dates = [
    ...['-startdate', stamp(options.notBefore ?? daysFromNow(-1))],
    ...['-enddate', stamp(options.notAfter ?? daysFromNow(365))],
  ]
  const files = ['-in', request, '-out', certFile]
  await openssl('ca', '-batch', '-notext', '-config', config, ...signer, ...dates, ...files)
  const pem = await readFile(certFile, 'utf8')
  // the root itself is never sent
  const intermediates: string[] = []
  for (let above = issuer; above?.parent !== undefined; above = above.parent) intermediates.push(above.pem)
  await writeFile(chainFile, [pem, ...intermediates].join(''))
  return { name, certFile, keyFile, chainFile, pem }
}

function configText(database: string, folder: string, extensions: readonly string[]): string {
  return [
    '[ca]',
    'default_ca = this',
    '[this]',
    `database = ${database}`,
    `new_certs_dir = ${folder}`,
    'default_md = sha256',
    'policy = anything',
    'unique_subject = no',
    'rand_serial = yes',
    'email_in_dn = no',
    'x509_extensions = extensions',
    '[anything]',
    'organizationName = optional',
    'commonName = optional',
    '[req]',
    'distinguished_name = name',
    'string_mask = utf8only',
    '[name]',
    '[extensions]',
    ...extensions,
    '',
  ].join('\n')
}

/** YYYYMMDDHHMMSSZ. */
function stamp(date: Date): string {
  return `${date.toISOString().slice(0, 19).replace(/[-:T]/g, '')}Z`
}

async function openssl(...argv: string[]): Promise<void> {
  try {
    await run('openssl', argv)
  } catch (error) {
    throw new Error(`openssl ${argv[0]} failed: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    })
  }
}
