// Configurations of other tools as input, recognised by content: OpenShift's additional CAs (a folder of HOST or HOST..PORT files), a
// docker-style tree (HOST[:PORT]/*.crt), and the registries.yaml of k3s and RKE2. Each becomes what trust.yaml would say; pure, save for reading.
import { posix } from 'node:path'
import { parseUrl } from '../containerd/hosts/endpoint.ts'
import type { InputFiles } from '../model/ports.ts'
import { parseYaml } from '../text/yaml-tree.ts'
import { listQuietly, readInput } from './input-lookup.ts'
import { checkRegistryHost } from './registry-host.ts'

const MOST_BYTES = 1024 * 1024
/** Names of files, not of hosts, though they hold a dot. */
const FILE_NAME = /\.(pem|crt|cer|der|p12|pfx|p7b|p7c|key|b64|txt|ya?ml|json|toml)$/i
/** OpenShift's own, of the same ConfigMap: no registry. */
const OPENSHIFT_OWN: ReadonlySet<string> = new Set(['updateservice-registry'])

type Registry = { readonly host: string; readonly [key: string]: unknown }
type Document = {
  readonly anchors: { readonly [name: string]: { readonly file: string } }
  readonly registries: readonly Registry[]
}

/** A folder without trust.yaml that another tool's CAs lie in; undefined: a folder of files like any other. */
export async function readForeignFolder(folder: string, files: InputFiles): Promise<Document | undefined> {
  const names = (await listQuietly(files, folder)).filter((name) => !name.startsWith('.') && !OPENSHIFT_OWN.has(name))
  if (names.length === 0) return undefined
  const hosts = names.map((name) => ({ name, host: name.replace(/\.\.(\d+)$/, ':$1') }))
  if (hosts.some(({ name, host }) => FILE_NAME.test(name) || checkRegistryHost(host) !== undefined)) return undefined
  const found: Document[] = []
  for (const { name, host } of hosts) {
    const path = posix.join(folder, name)
    const input = await readInput(files, path, MOST_BYTES)
    const one =
      input.kind === 'folder'
        ? await readHostFolder(path, host, files)
        : input.kind === 'file' && input.bytes.includes('-----BEGIN CERTIFICATE')
          ? trusting(host, [path])
          : undefined
    if (one === undefined) return undefined
    found.push(one)
  }
  return merge(found)
}

async function readHostFolder(folder: string, host: string, files: InputFiles): Promise<Document | undefined> {
  const paths = (await listQuietly(files, folder))
    .filter((name) => name.endsWith('.crt'))
    .map((name) => posix.join(folder, name))
  return paths.length === 0 ? undefined : trusting(host, paths)
}

function trusting(host: string, paths: readonly string[]): Document {
  const names = paths.map((_, index) => anchorName(host, index))
  const anchors = Object.fromEntries(paths.map((file, index) => [names[index] ?? '', { file }]))
  return { anchors, registries: [{ host, anchors: names }] }
}

function anchorName(host: string, index: number): string {
  return `${host.replace(/[^A-Za-z0-9.-]/g, '_')}${index === 0 ? '' : `-${index + 1}`}`
}

function merge(documents: readonly Document[]): Document {
  return {
    anchors: Object.assign({}, ...documents.map(({ anchors }) => anchors)),
    registries: documents.flatMap(({ registries }) => registries),
  }
}

export type K3sResult =
  | { readonly ok: true; readonly document: Document }
  /** What has no counterpart here: refused, because doing a part of it would be worse. */
  | { readonly ok: false; readonly reasons: readonly string[] }

/** Undefined: another YAML file. Logins in it are the node's business and not read. */
export function readK3sRegistries(text: string): K3sResult | undefined {
  const value = parseYaml(text).tree?.value
  if (!isTable(value)) return undefined
  const keys = Object.keys(value)
  if (keys.length === 0 || !keys.every((key) => key === 'mirrors' || key === 'configs')) return undefined
  const reasons: string[] = []
  const configs = tableAt(value, 'configs')
  const anchors: { [name: string]: { file: string } } = {}
  const tlsOf = (host: string) => tableAt(tableAt(configs, host), 'tls')
  const anchorsOf = (host: string): readonly string[] => {
    const file = textAt(tlsOf(host), 'ca_file')
    if (file === undefined) return []
    anchors[anchorName(host, 0)] = { file }
    return [anchorName(host, 0)]
  }
  const own = new Map<string, Registry>()
  for (const host of Object.keys(configs)) {
    const tls = tlsOf(host)
    const [certFile, keyFile] = [textAt(tls, 'cert_file'), textAt(tls, 'key_file')]
    const named = anchorsOf(host)
    own.set(host, {
      host,
      ...(named.length > 0 && { anchors: named }),
      ...(tls['insecure_skip_verify'] === true && { skipVerify: true }),
      ...(certFile !== undefined && keyFile !== undefined && { clientCertificate: { certFile, keyFile } }),
    })
  }
  for (const [host, settings] of Object.entries(tableAt(value, 'mirrors'))) {
    if (isTable(settings) && settings['rewrite'] !== undefined)
      reasons.push(`mirrors["${host}"].rewrite has no counterpart: containerd itself does not rewrite paths`)
    const endpoints = isTable(settings) && Array.isArray(settings['endpoint']) ? settings['endpoint'].map(String) : []
    const mirrors = endpoints.flatMap((endpoint) => {
      const parsed = parseUrl(endpoint.includes('://') ? endpoint : `https://${endpoint}`)
      if (parsed === undefined) {
        reasons.push(`mirrors["${host}"].endpoint holds an address that cannot be used`)
        return []
      }
      const path = parsed.path.replace(/\/v2\/?$/, '').replace(/\/$/, '')
      const isItself = parsed.host === host && path === ''
      return isItself ? [] : [{ url: `${parsed.scheme}://${parsed.host}${path}`, anchors: anchorsOf(parsed.host) }]
    })
    own.set(host, { ...(own.get(host) ?? { host }), ...(mirrors.length > 0 && { mirrors }) })
  }
  if (reasons.length > 0) return { ok: false, reasons }
  return { ok: true, document: { anchors, registries: [...own.values()] } }
}

type Table = { readonly [key: string]: unknown }

function isTable(value: unknown): value is Table {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function tableAt(table: Table, key: string): Table {
  const value = table[key]
  return isTable(value) ? value : {}
}

function textAt(table: Table, key: string): string | undefined {
  const value = table[key]
  return typeof value === 'string' && value !== '' ? value : undefined
}
