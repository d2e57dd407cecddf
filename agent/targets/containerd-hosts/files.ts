// Every file of one registry's host directory, hosts.toml last: it names the others.
import { posix } from 'node:path'
import { defaultServer, renderHostsFile } from '../../containerd/hosts/hosts-toml.ts'
import { type AskedHost, renderAskedHosts } from '../../containerd/hosts/mirrors.ts'
import {
  type Certificate,
  type DesiredState,
  type Mirror,
  type Registry,
  trustOf,
  trustOfMirror,
} from '../../model/desired-state.ts'
import type { RegularFile } from '../../model/plan.ts'
import { rootFile } from '../files/files.ts'
import { HOSTS_FILE } from './names.ts'

export const CA_FILE = 'ca.crt'
export const CLIENT_CERTIFICATE = 'client.cert'
export const CLIENT_KEY = 'client.key'

export type NamedFile = { readonly name: string; readonly content: RegularFile }

export type HostFolderInput = {
  readonly registry: Registry
  readonly desired: DesiredState
  /** Kept beside the declared anchors. */
  readonly overlap: readonly Pick<Certificate, 'pem'>[]
  /** Spegel rewrites the folder and keeps [host."…"] tables only. */
  readonly isForSpegel: boolean
}

export function hostFolderFiles({ registry, desired, overlap, isForSpegel }: HostFolderInput): readonly NamedFile[] {
  const { host, mirrors = [], clientCertificate, headers, extra, skipVerify, plainHttp, noFallback } = registry
  const certificates = [...trustOf(registry, desired).certificates, ...overlap]
  const ca = certificates.length === 0 ? undefined : CA_FILE
  const isWildcard = host === '*'
  const https = isWildcard ? undefined : defaultServer(host)
  const url = plainHttp === true ? https?.replace(/^https:/, 'http:') : https
  const asked = mirrors.map((mirror, index) => askedMirror(mirror, index, desired))
  const server = {
    ...(url === undefined ? {} : { url }),
    ...(ca === undefined ? {} : { ca }),
    ...(clientCertificate === undefined ? {} : { client: { certificate: CLIENT_CERTIFICATE, key: CLIENT_KEY } }),
    ...(skipVerify === true ? { skipVerify } : {}),
    ...(headers === undefined ? {} : { headers }),
    ...(extra === undefined ? {} : { extra }),
  }
  const isOwn = server.headers === undefined && server.extra === undefined && server.client === undefined
  const isPlain = asked.length === 0 && !isWildcard && isOwn
  const text =
    isPlain && ca !== undefined && url === https && https !== undefined && skipVerify !== true
      ? renderHostsFile({ server: https, ca, shape: isForSpegel ? 'B' : 'A' })
      : renderAskedHosts({
          mirrors: noFallback === true ? asked.slice(0, -1) : asked,
          server: noFallback === true ? (asked.at(-1) ?? server) : server,
          repeatServer: isForSpegel,
        })
  return [
    ...caFile(CA_FILE, noFallback === true && mirrors.length > 0 ? [] : certificates),
    ...mirrors.flatMap((mirror, index) => caFile(mirrorCa(mirror, index), trustOfMirror(mirror, desired))),
    ...(clientCertificate === undefined || noFallback === true
      ? []
      : [
          { name: CLIENT_CERTIFICATE, content: rootFile(clientCertificate.certificate) },
          { name: CLIENT_KEY, content: rootFile(clientCertificate.key.reveal(), 0o600) },
        ]),
    { name: HOSTS_FILE, content: rootFile(text) },
  ]
}

function askedMirror(mirror: Mirror, index: number, desired: DesiredState): AskedHost {
  const { url, capabilities, overridePath, headers, extra } = mirror
  return {
    url,
    capabilities,
    ...(trustOfMirror(mirror, desired).length === 0 ? {} : { ca: mirrorCa(mirror, index) }),
    ...(overridePath ? { overridePath } : {}),
    ...(headers === undefined ? {} : { headers }),
    ...(extra === undefined ? {} : { extra }),
  }
}

/** Named for people; the number keeps two mirrors on one host apart. */
function mirrorCa({ url }: Mirror, index: number): string {
  const host = posix.normalize(url.replace(/^https?:\/\//, '')).split('/')[0] ?? ''
  return `mirror-${index + 1}-${host.replace(/[^A-Za-z0-9.-]/g, '_')}.crt`
}

function caFile(name: string, certificates: readonly Pick<Certificate, 'pem'>[]): readonly NamedFile[] {
  if (certificates.length === 0) return []
  return [{ name, content: rootFile([...new Set(certificates.map(({ pem }) => pem))].join('')) }]
}
