// The node's own trust store as Go reads it (crypto/x509 root_unix.go): one bundle file, and every file of the
// certificate folders. Through the files port, so below --root; what cannot be read is passed over, as Go does.
import { posix } from 'node:path'
import type { SystemRootsFacts } from '../../model/observed-state.ts'
import type { NodeFiles } from '../../model/ports.ts'
import type { ChainCertificate } from '../../pki/certificate/chain-certificate.ts'
import { rootsInPem } from '../../pki/chain/roots.ts'

/** The first that exists counts. */
const BUNDLES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  // What that one leads to on SUSE; the link itself is not mounted into a Pod.
  '/var/lib/ca-certificates/ca-bundle.pem',
  '/etc/pki/tls/cacert.pem',
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/cert.pem',
] as const

const FOLDERS = ['/etc/ssl/certs', '/etc/pki/tls/certs'] as const
const MOST_FILES = 2_000

export type SystemRootOptions = {
  /** Of containerd, where it is known: SSL_CERT_FILE and SSL_CERT_DIR take the place of the usual files and folders. */
  readonly environment?: { readonly [name: string]: string }
}

export async function readSystemRoots(
  files: NodeFiles,
  { environment = {} }: SystemRootOptions = {},
): Promise<readonly ChainCertificate[]> {
  const { SSL_CERT_FILE: file = '', SSL_CERT_DIR: folders = '' } = environment
  const seen = new Set<string>()
  const roots: ChainCertificate[] = []
  for (const path of file === '' ? BUNDLES : [file]) {
    const found = await readPem(path, files, seen)
    if (found === undefined) continue
    roots.push(...found)
    break
  }
  for (const folder of folders === '' ? FOLDERS : folders.split(':').filter((path) => path.startsWith('/'))) {
    for (const name of await listQuietly(folder, files)) {
      const path = `${folder}/${name}`
      const state = await files.read(path)
      // A link to a neighbour (OpenSSL's hash links) would be the same certificate again.
      if (state.kind === 'link' && !state.to.includes('/')) continue
      roots.push(...((await readPem(path, files, seen)) ?? []))
    }
  }
  return roots
}

/** Which store that is, and when it last changed; undefined where there is none. */
export async function systemRootsFacts(
  files: NodeFiles,
  { environment = {} }: SystemRootOptions = {},
): Promise<SystemRootsFacts | undefined> {
  const { SSL_CERT_FILE: file = '', SSL_CERT_DIR: folders = '' } = environment
  for (const path of file === '' ? BUNDLES : [file]) {
    const bundle = await files.readFollowing(path)
    if (bundle.kind !== 'file') continue
    const named = folders.split(':').filter((one) => one.startsWith('/'))
    let changedAt = bundle.mtimeMs
    for (const one of named.length > 0 ? named : [posix.dirname(path)]) {
      const folder = await files.readFollowing(one)
      if (folder.kind === 'folder') changedAt = Math.max(changedAt, folder.mtimeMs ?? 0)
    }
    return { path, changedAt }
  }
  return undefined
}

async function readPem(path: string, files: NodeFiles, seen: Set<string>) {
  const state = await files.readFollowing(path)
  return state.kind === 'file' ? rootsInPem(state.bytes.toString('latin1'), seen) : undefined
}

async function listQuietly(folder: string, files: NodeFiles): Promise<readonly string[]> {
  try {
    return (await files.list(folder)).slice(0, MOST_FILES)
  } catch {
    return []
  }
}
