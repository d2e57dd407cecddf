// Servers that are wrong in one chosen way, beside a node: what an agent meets where no registry answers as it should.
// A wrong certificate is no fault of its own here: give startFaultServer an expired, misnamed or self-signed one.
import { isIP } from 'node:net'
import { join } from 'node:path'
import type { Certificate } from './certificates.ts'
import type { FixtureNode } from './fixture-node.ts'
import type { Service } from './namespaces.ts'

export type Fault =
  /** TLS, and a fixed HTTP answer (see `answer`): 401, 403, 429, 500, a portal's page. */
  | 'answer'
  /** HTTP without TLS on the port, with the same fixed answer. */
  | 'plain-http'
  /** Accepts the connection and never says a word. */
  | 'silent'
  /** A good TLS handshake, then no HTTP answer. */
  | 'silent-http'
  /** Resets the connection at the client's first byte. */
  | 'reset'
  /** TLS 1.1 at most. */
  | 'old-tls'
  /** Refuses clients without a certificate of `clientAuthority`. */
  | 'client-certificate'

export type FixedAnswer = {
  readonly status?: number
  readonly headers?: { readonly [name: string]: string }
  readonly body?: string
}

/** What fault-server.ts is told. */
export type FaultPlan = {
  readonly fault: Fault
  readonly address: string
  readonly port: number
  readonly certFile?: string
  readonly keyFile?: string
  readonly clientCaFile?: string
  readonly answer?: FixedAnswer
}

export type SeenRequest = {
  readonly method: string
  readonly url: string
  readonly authorization: boolean
  readonly headers: { readonly [name: string]: string }
}

export class FaultServer {
  /** As it stands in an image reference. */
  readonly host: string
  readonly address: string
  readonly #service: Service

  constructor(host: string, address: string, service: Service) {
    this.host = host
    this.address = address
    this.#service = service
  }

  /** Every HTTP request that came so far: it is printed before it is answered. */
  async requests(): Promise<readonly SeenRequest[]> {
    await this.#service.settled()
    const lines = this.#service.stdout.split('\n').filter((line) => line.startsWith('{'))
    return lines.map((line) => JSON.parse(line) as SeenRequest)
  }

  async stop(): Promise<void> {
    await this.#service.stop()
  }
}

/** A captive portal's answer: 200 and a page for people, whatever was asked. */
export const PORTAL: FixedAnswer = {
  status: 200,
  headers: { 'content-type': 'text/html' },
  body: '<html><body>Please log in</body></html>',
}

export async function startFaultServer(
  node: FixtureNode,
  options: {
    readonly host: string
    readonly port?: number
    readonly fault: Fault
    readonly certificate?: Certificate
    readonly clientAuthority?: Certificate
    readonly answer?: FixedAnswer
    readonly address?: string
  },
): Promise<FaultServer> {
  const { host, port = 443, fault, certificate, clientAuthority, answer } = options
  const address = options.address ?? (await node.newAddress())
  if (isIP(host) === 0) await node.setHost(host, address)
  const plan: FaultPlan = {
    fault,
    address,
    port,
    ...(certificate && { certFile: certificate.chainFile, keyFile: certificate.keyFile }),
    ...(clientAuthority && { clientCaFile: clientAuthority.certFile }),
    ...(answer && { answer }),
  }
  const argv = [process.execPath, join(import.meta.dirname, 'fault-server.ts'), JSON.stringify(plan)]
  const service = await node.start(argv, { place: 'neighbour' })
  await service.waitFor(/^listening$/m)
  return new FaultServer(port === 443 ? host : `${host}:${port}`, address, service)
}
