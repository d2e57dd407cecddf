// Which proxy containerd takes to a registry: Go's rules for HTTPS_PROXY and NO_PROXY
// (golang.org/x/net/http/httpproxy), so that a look at the registry goes the way that a pull goes. Pure.
import { BlockList, isIP } from 'node:net'
import type { TlsProbe, TlsProxy } from '../model/ports.ts'
import { Secret } from '../model/secret.ts'

export type Environment = { readonly [name: string]: string }

export type ProxyChoice =
  | { readonly kind: 'direct' }
  | { readonly kind: 'proxy'; readonly proxy: TlsProxy; readonly shown: string }
  /** A scheme that no CONNECT is sent over, such as socks5 or https. */
  | { readonly kind: 'unsupported'; readonly shown: string }

/** `host` without brackets. Loopback is never asked through a proxy. */
export function proxyFor(environment: Environment, host: string, port: number): ProxyChoice {
  const setting = environment['HTTPS_PROXY'] || environment['https_proxy'] || ''
  const exempt = environment['NO_PROXY'] || environment['no_proxy'] || ''
  if (setting === '' || isLoopback(host) || isExempt(exempt, host.toLowerCase().replace(/\.$/, ''), port))
    return { kind: 'direct' }
  // Go reads "proxy:3128" as http://proxy:3128.
  const url = URL.parse(/^[a-z][a-z0-9+.-]*:\/\//i.test(setting) ? setting : `http://${setting}`)
  if (url === null) return { kind: 'unsupported', shown: 'an address that cannot be read' }
  const shown = `${url.protocol}//${url.host}`
  if (url.protocol !== 'http:') return { kind: 'unsupported', shown }
  const proxy = { host: url.hostname.replace(/^\[(.*)\]$/, '$1'), port: url.port === '' ? 80 : Number(url.port) }
  if (url.username === '') return { kind: 'proxy', proxy, shown }
  const login = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`
  const authorization = new Secret(`Basic ${Buffer.from(login).toString('base64')}`)
  return { kind: 'proxy', proxy: { ...proxy, authorization }, shown }
}

/** Looks through the proxy that the environment of containerd names for each host. */
export function throughProxy(tls: TlsProbe, environment: Environment): TlsProbe {
  return {
    ...tls,
    async inspect(target, options) {
      const choice = proxyFor(environment, target.host, target.port)
      switch (choice.kind) {
        case 'direct':
          return await tls.inspect(target, options)
        case 'proxy':
          return await tls.inspect({ ...target, proxy: choice.proxy }, options)
        case 'unsupported': {
          const text = `containerd reaches it through ${choice.shown}, which cannot be followed here: run \`registry-trust explain\`, which asks containerd`
          const nothing = { address: undefined, chain: [], protocol: undefined, wantsClientCertificate: false }
          return { ...nothing, failure: { kind: 'proxy', text } }
        }
        default:
          throw choice satisfies never
      }
    },
  }
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host)
}

function isExempt(list: string, host: string, port: number): boolean {
  return list
    .split(',')
    .map((entry) => entry.trim().toLowerCase())
    .filter((entry) => entry !== '')
    .some((entry) => matches(entry, host, port))
}

function matches(entry: string, host: string, port: number): boolean {
  if (entry === '*') return true
  const [, network = '', bits = ''] = /^([0-9a-f.:]+)\/(\d{1,3})$/.exec(entry) ?? []
  if (isIP(network) !== 0) return isIP(host) !== 0 && inNetwork(network, Number(bits), host)
  const [, bracketed, name = '', wanted] = /^(?:\[(.*)\]|([^:]*))(?::(\d+))?$/.exec(entry) ?? ['', undefined, entry]
  if (wanted !== undefined && Number(wanted) !== port) return false
  const pattern = bracketed ?? name
  if (isIP(pattern) !== 0) return pattern === host
  if (pattern.startsWith('*.')) return host.endsWith(pattern.slice(1))
  return pattern.startsWith('.') ? host.endsWith(pattern) : host === pattern || host.endsWith(`.${pattern}`)
}

function inNetwork(network: string, bits: number, host: string): boolean {
  const family = (address: string) => (isIP(address) === 6 ? 'ipv6' : 'ipv4')
  if (family(network) !== family(host) || bits > (isIP(network) === 6 ? 128 : 32)) return false
  const block = new BlockList()
  block.addSubnet(network, bits, family(network))
  return block.check(host, family(host))
}
