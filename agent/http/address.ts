// Addresses as people write them: `host:port`, `:port`, `[::1]:port`. Pure.
import { AgentError } from '../model/errors.ts'

/** `host` is empty for "every address of this machine". */
export type Address = { readonly host: string; readonly port: number }

const FORM = /^(?:\[([0-9a-fA-F:.]+(?:%[\w.-]+)?)\]|([^\s:[\]/@]*)):(\d{1,5})$/

/** Throws AgentError USAGE. */
export function parseAddress(text: string): Address {
  const match = FORM.exec(text)
  const port = Number(match?.[3])
  if (match === null || port > 65535) {
    throw new AgentError('USAGE', `"${text}" is not an address to listen on: write HOST:PORT, :PORT or [IPV6]:PORT`)
  }
  return { host: match[1] ?? match[2] ?? '', port }
}

export function formatAddress({ host, port }: Address): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}

/** Where to reach a server that listens on `address`: one that listens everywhere is reached over IPv4 loopback. */
export function addressToReach({ host, port }: Address): Address {
  const isUnspecified = host === '' || host === '0.0.0.0' || /^[0:]+$/.test(host)
  return { host: isUnspecified ? '127.0.0.1' : host, port }
}
