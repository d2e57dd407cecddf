// Folders of other tools as input, recognised by content: OpenShift's additional CAs (a folder of HOST or HOST..PORT
// files) and a docker-style tree (HOST[:PORT]/*.crt), also with containerd's HOST_PORT_. Each becomes what trust.yaml would say; pure, save for reading.
// This room: files of others that are read as configuration: registries.yaml of k3s, containerd's tables, docker's logins.
// Begin here; then foreign-reading.ts (what they have in common), docker-config.ts and credentials.ts (logins).
// May touch: files of the configuration through the port InputFiles.
import { posix } from 'node:path'
import type { InputFiles } from '../../model/ports.ts'
import { listQuietly, readInput } from '../reading/input-lookup.ts'
import { checkRegistryHost } from '../reading/registry-host.ts'

const MOST_BYTES = 1024 * 1024
/** Names of files, not of hosts, though they hold a dot. */
const FILE_NAME = /\.(key|txt|md|ya?ml|json|toml)$/i
/** Files that a trust.yaml of another folder may name. */
const CERTIFICATE_NAME = /\.(pem|crt|cer|der|p12|pfx|p7b|p7c|b64)$/i
/** OpenShift's own, of the same ConfigMap: no registry. */
const OPENSHIFT_OWN: ReadonlySet<string> = new Set(['updateservice-registry'])

type Registry = { readonly host: string; readonly [key: string]: unknown }
type Document = {
  readonly anchors: { readonly [name: string]: { readonly file: string } }
  readonly registries: readonly Registry[]
}

export type ForeignFolder = {
  readonly document: Document
  /** Entries that are not used, each with the reason, which reads on after the path. */
  readonly refused: readonly { readonly path: string; readonly text: string }[]
}

/** A folder without trust.yaml that another tool's CAs lie in; undefined: a folder of files like any other. */
export async function readForeignFolder(folder: string, files: InputFiles): Promise<ForeignFolder | undefined> {
  const names = (await listQuietly(files, folder)).filter((name) => !name.startsWith('.') && !OPENSHIFT_OWN.has(name))
  const entries = await Promise.all(names.map((name) => readEntry(posix.join(folder, name), name, files)))
  const found = entries.flatMap(({ trusted }) => trusted ?? [])
  // Files only: the configuration that names them says what they are for.
  if (found.length === 0) return undefined
  return { document: documentOf(found), refused: entries.flatMap(({ refused }) => refused) }
}

/** One host, its CA files, and what else is declared of it. */
type Trusted = { readonly host: string; readonly cas: readonly string[]; readonly clientCertificate?: object }
type Entry = { readonly trusted?: Trusted; readonly refused: ForeignFolder['refused'] }

async function readEntry(path: string, name: string, files: InputFiles): Promise<Entry> {
  if (CERTIFICATE_NAME.test(name)) return { refused: [] }
  // As OpenShift and as containerd write a port where a colon cannot stand.
  const host = name.replace(/\.\.(\d+)$/, ':$1').replace(/_(\d+)_$/, ':$1')
  const wrong = FILE_NAME.test(name) ? 'must be the name of a registry host' : checkRegistryHost(host)?.text
  if (wrong !== undefined) return { refused: [{ path, text: `is not used: it ${wrong}` }] }
  const input = await readInput(files, path, MOST_BYTES)
  if (input.kind === 'folder') return readHostFolder(path, host, files)
  if (input.kind === 'file' && input.bytes.includes('-----BEGIN CERTIFICATE')) {
    return { trusted: { host, cas: [path] }, refused: [] }
  }
  return { refused: [{ path, text: 'is not used: it is neither a folder nor a PEM certificate' }] }
}

/**
 * As docker reads it: *.crt are CAs, NAME.cert and NAME.key a client certificate
 * (docs.docker.com/engine/security/certificates).
 */
async function readHostFolder(folder: string, host: string, files: InputFiles): Promise<Entry> {
  const refused: { path: string; text: string }[] = []
  const refuse = (name: string, text: string) => refused.push({ path: posix.join(folder, name), text })
  const names: string[] = []
  for (const name of await listQuietly(files, folder)) {
    // The kubelet's own: ..data and what it leads to.
    if (name.startsWith('..')) continue
    const { kind } = await readInput(files, posix.join(folder, name), 0)
    if (kind === 'folder') refuse(name, 'is not used: it is a folder')
    else names.push(name)
  }
  const pairs = names.filter((name) => name.endsWith('.cert') && names.includes(name.replace(/\.cert$/, '.key')))
  const [pair, ...morePairs] = pairs
  for (const name of names) {
    const other = /\.cert$/.test(name) ? name.replace(/cert$/, 'key') : name.replace(/key$/, 'cert')
    if (/\.(cert|key)$/.test(name) && !names.includes(other)) refuse(name, `is not used: ${other} is not beside it`)
    else if (!/\.(crt|cert|key)$/.test(name)) refuse(name, 'is not used: its name ends in none of .crt, .cert and .key')
  }
  for (const name of morePairs) refuse(name, `is not used: one client certificate is sent to a registry, ${pair}`)
  const cas = names.filter((name) => name.endsWith('.crt')).map((name) => posix.join(folder, name))
  if (cas.length === 0 && pair === undefined) {
    return { refused: [...refused, { path: folder, text: 'is not used: it holds no CA (*.crt)' }] }
  }
  if (pair === undefined) return { trusted: { host, cas }, refused }
  const [certFile, keyFile] = [pair, pair.replace(/cert$/, 'key')].map((name) => posix.join(folder, name))
  return { trusted: { host, cas, clientCertificate: { certFile, keyFile } }, refused }
}

function documentOf(all: readonly Trusted[]): Document {
  const anchors: { [name: string]: { file: string } } = {}
  const registries = all.map(({ cas, ...registry }) => {
    const names = cas.map((file, index) => {
      const name = freeName(index === 0 ? registry.host : `${registry.host}-${index + 1}`, (taken) => taken in anchors)
      anchors[name] = { file }
      return name
    })
    return { ...registry, anchors: names }
  })
  return { anchors, registries }
}

/** The name of an anchor of `host`. Two hosts may want the same one: `a.net:5000` and `a.net_5000`. */
export function freeName(host: string, isTaken: (name: string) => boolean): string {
  const base = host.replace(/[^A-Za-z0-9.-]/g, '_')
  for (let number = 1; ; number += 1) {
    const name = number === 1 ? base : `${base}_${number}`
    if (!isTaken(name)) return name
  }
}
