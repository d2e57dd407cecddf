// Starts a token service beside a node, for registries with bearer authentication.
import { isIP } from 'node:net'
import { join } from 'node:path'
import type { Certificate } from './certificates.ts'
import type { FixtureNode } from './fixture-node.ts'
import type { Service } from './namespaces.ts'
import type { TokenPlan } from './token-server.ts'

export type TokenRequest = {
  readonly method: string
  readonly scope: string
  readonly anonymous: boolean
  readonly known: boolean
  readonly agent: string
}

export class TokenService {
  readonly realm: string
  readonly service: string
  readonly signerCertFile: string
  readonly #process: Service

  constructor(realm: string, service: string, signerCertFile: string, process: Service) {
    this.realm = realm
    this.service = service
    this.signerCertFile = signerCertFile
    this.#process = process
  }

  async requests(): Promise<readonly TokenRequest[]> {
    await this.#process.settled()
    const lines = this.#process.stdout.split('\n').filter((line) => line.startsWith('{'))
    return lines.map((line) => JSON.parse(line) as TokenRequest)
  }
}

export async function startTokenService(
  node: FixtureNode,
  options: Pick<TokenPlan, 'username' | 'password' | 'refreshToken' | 'repositories'> & {
    readonly host: string
    readonly certificate: Certificate
    readonly signer: Certificate
  },
): Promise<TokenService> {
  const { host, certificate, signer, username, password, refreshToken, repositories } = options
  const address = await node.newAddress()
  if (isIP(host) === 0) await node.setHost(host, address)
  const service = 'fixture-registry'
  const plan: TokenPlan = {
    ...{ address, port: 443, service, username, password, refreshToken, repositories },
    ...{ certFile: certificate.chainFile, keyFile: certificate.keyFile },
    ...{ signerCertFile: signer.certFile, signerKeyFile: signer.keyFile },
  }
  const argv = [process.execPath, join(import.meta.dirname, 'token-server.ts'), JSON.stringify(plan)]
  const started = await node.start(argv, { place: 'neighbour' })
  await started.waitFor(/^listening$/m)
  return new TokenService(`https://${host}/service/token`, service, signer.certFile, started)
}
