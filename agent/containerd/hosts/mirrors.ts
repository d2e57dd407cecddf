// hosts.toml of a registry with mirrors, a client certificate or headers. containerd asks the [host."…"] tables in
// order and the `server` last, with the keys that stand at the top; without fallback the last mirror is that server, so
// that no other host is ever asked. https://github.com/containerd/containerd/blob/main/docs/hosts.md

import type { Extra } from '../../model/desired-state.ts'
import { ownToml, renderKey, renderString, renderValue } from '../../text/toml.ts'
import { MANAGED_HEADER } from './hosts-toml.ts'

/** Files are named relative to the folder of hosts.toml. */
export type AskedHost = {
  readonly url: string
  readonly ca?: string
  readonly client?: { readonly certificate: string; readonly key: string }
  readonly skipVerify?: boolean
  readonly overridePath?: boolean
  /** Absent: everything. */
  readonly capabilities?: readonly string[]
  readonly headers?: { readonly [name: string]: string }
  readonly extra?: Extra
}

export type AskedHosts = {
  readonly mirrors: readonly AskedHost[]
  /** Asked last; its `url` is absent in `_default`, where it is the host of the reference. */
  readonly server: Omit<AskedHost, 'url'> & { readonly url?: string }
  /** Repeats the server as a table of its own: all that Spegel's rewrite of the folder keeps. */
  readonly repeatServer: boolean
}

export function renderAskedHosts({ mirrors, server, repeatServer }: AskedHosts): string {
  const { url, ...last } = server
  const top = [
    ...(url === undefined ? [] : [`server = ${renderString(url)}`]),
    ...keyLines(last),
    ...headerLines(last, 'header'),
  ]
  const repeated = repeatServer && url !== undefined ? [...mirrors, { ...last, url }] : mirrors
  // A table that stands there twice is no TOML: containerd would ignore the whole file. The first is the one asked.
  const asked = repeated.filter((host, at) => repeated.findIndex((other) => other.url === host.url) === at)
  const tables = asked.flatMap((host) => {
    const table = `host.${renderString(host.url)}`
    return [
      '',
      `[${table}]`,
      ...[...keyLines(host), ...headerLines(host, `${table}.header`)].map((line) => (line === '' ? line : `  ${line}`)),
    ]
  })
  // Without any [host] containerd before 1.7.32 and 1.6 reject the whole file.
  return ownToml([MANAGED_HEADER, ...top, ...(asked.length === 0 ? ['', '[host]'] : tables), ''].join('\n'))
}

function keyLines({
  ca,
  client,
  skipVerify,
  overridePath,
  capabilities,
  extra = {},
}: Omit<AskedHost, 'url'>): readonly string[] {
  return [
    ...(capabilities === undefined ? [] : [`capabilities = [${capabilities.map(renderString).join(', ')}]`]),
    ...(ca === undefined ? [] : [`ca = ${renderString(ca)}`]),
    ...(client === undefined ? [] : [`client = [[${renderString(client.certificate)}, ${renderString(client.key)}]]`]),
    ...(skipVerify === true ? ['skip_verify = true'] : []),
    ...(overridePath === true ? ['override_path = true'] : []),
    ...Object.keys(extra)
      .toSorted()
      .map((key) => `${renderKey(key)} = ${renderValue(extra[key] ?? '')}`),
  ]
}

function headerLines({ headers = {} }: Omit<AskedHost, 'url'>, table: string): readonly string[] {
  const names = Object.keys(headers).toSorted()
  if (names.length === 0) return []
  return ['', `[${table}]`, ...names.map((name) => `${renderKey(name)} = ${renderString(headers[name] ?? '')}`)]
}
