// A real docker-registry beside a node: TLS on an address of the node's own network that is no loopback, found by name through the
// node's name server. Images are laid into its storage, so that no client, no network and no credentials are needed to fill it.
import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Certificate } from './certificates.ts'
import type { Credentials } from './cri-client.ts'
import type { FixtureNode } from './fixture-node.ts'
import { tool } from './generations.ts'
import { type Image, storeInRegistry, tinyImage } from './image.ts'
import type { Service } from './namespaces.ts'
import type { TokenService } from './token-service.ts'

const run = promisify(execFile)

export const SAMPLE_IMAGE = 'library/hello:1'

export type RegistryOptions = {
  readonly host: string
  readonly port?: number
  /** Without one the registry speaks plain HTTP. */
  readonly certificate?: Certificate
  /** Asks for this user (HTTP basic). */
  readonly credentials?: Credentials
  /** Asks for a token of this service (see startTokenService). */
  readonly tokens?: TokenService
  /** An address the node already has; by default a new one. */
  readonly address?: string
}

export type AccessLine = {
  readonly method: string
  readonly url: string
  readonly status: number
  readonly userAgent: string
}

export class FixtureRegistry {
  /** `host`, or `host:port` when the port is not 443: as it stands in an image reference. */
  readonly host: string
  readonly address: string
  readonly port: number
  readonly #node: FixtureNode
  readonly #storage: string
  readonly #service: Service
  readonly #url: string
  #marks = 0

  constructor(
    node: FixtureNode,
    { host, address, port, scheme }: { host: string; address: string; port: number; scheme: 'http' | 'https' },
    storage: string,
    service: Service,
  ) {
    this.host = port === 443 ? host : `${host}:${port}`
    this.address = address
    this.port = port
    this.#node = node
    this.#url = `${scheme}://${address}:${port}`
    this.#storage = storage
    this.#service = service
  }

  /** The reference of an image here; by default of the one that is always there. */
  reference(image = SAMPLE_IMAGE): string {
    return `${this.host}/${image}`
  }

  /** The same by address instead of by name. */
  referenceByAddress(image = SAMPLE_IMAGE): string {
    return `${this.port === 443 ? this.address : `${this.address}:${this.port}`}/${image}`
  }

  async store(repository: string, tag: string, image: Image): Promise<void> {
    await storeInRegistry(this.#storage, repository, tag, image)
  }

  /** Every HTTP request that was answered so far. A connection whose TLS handshake failed is none. */
  async accessLog(): Promise<readonly AccessLine[]> {
    await this.#everythingLogged()
    const line = /^\S+ - \S+ \[[^\]]*\] "(\S+) (\S+) [^"]*" (\d{3}) \S+ "[^"]*" "([^"]*)"$/gm
    const lines = [...this.#service.stdout.matchAll(line)].map((match) => ({
      method: match[1] ?? '',
      url: match[2] ?? '',
      status: Number(match[3]),
      userAgent: match[4] ?? '',
    }))
    return lines.filter(({ url }) => !url.startsWith(MARK))
  }

  /** What the registry logs besides: TLS handshake errors of clients that do not trust it stand here. */
  async log(): Promise<string> {
    await this.#service.settled()
    return this.#service.stderr
  }

  /** A request is logged after it was answered: one of our own, made now, stands in the log after all that came before. */
  async #everythingLogged(): Promise<void> {
    this.#marks += 1
    const mark = `${MARK}${this.#marks}`
    const curl = ['curl', '--silent', '--insecure', '--max-time', '5', '--output', '/dev/null', this.#url + mark]
    const asked = await this.#node.start(curl, { place: 'neighbour' })
    if ((await asked.exited) !== 0) throw new Error(`${this.host} does not answer`)
    await this.#service.waitFor(new RegExp(`"GET ${mark} `))
  }

  async stop(): Promise<void> {
    await this.#service.stop()
  }
}

/** Where no client but accessLog asks. */
const MARK = '/mark-in-the-log-'
let started = 0

export async function startRegistry(node: FixtureNode, options: RegistryOptions): Promise<FixtureRegistry> {
  const { host, port = 443, certificate, credentials, tokens } = options
  const address = options.address ?? (await node.newAddress())
  if (isIP(host) === 0) await node.setHost(host, address)
  started += 1
  const folder = join(node.scratch, `registry-${started}`)
  const storage = join(folder, 'storage')
  await mkdir(storage, { recursive: true })
  await storeInRegistry(storage, 'library/hello', '1', tinyImage(`hello from ${host}`))
  const config = {
    version: 0.1,
    log: { level: 'info', formatter: 'text' },
    storage: { filesystem: { rootdirectory: storage } },
    http: {
      addr: `${address}:${port}`,
      secret: 'fixture',
      ...(certificate && { tls: { certificate: certificate.chainFile, key: certificate.keyFile } }),
    },
    ...(credentials && { auth: { htpasswd: { realm: 'fixture', path: await passwordFile(folder, credentials) } } }),
    ...(tokens && {
      auth: {
        token: {
          realm: tokens.realm,
          service: tokens.service,
          issuer: 'fixture',
          rootcertbundle: tokens.signerCertFile,
        },
      },
    }),
  }
  // JSON is YAML
  await writeFile(join(folder, 'config.yml'), JSON.stringify(config))
  const service = await node.start([tool('docker-registry', 'docker-registry'), 'serve', join(folder, 'config.yml')], {
    place: 'neighbour',
    // newer registries would look for a collector
    env: { OTEL_TRACES_EXPORTER: 'none' },
  })
  await service.waitFor(/listening on [^\s]+:\d+/)
  return new FixtureRegistry(node, { host, address, port, scheme: certificate ? 'https' : 'http' }, storage, service)
}

async function passwordFile(folder: string, { username, password }: Credentials): Promise<string> {
  const file = join(folder, 'htpasswd')
  const { stdout } = await run('htpasswd', ['-Bbn', '-C', '4', username, password])
  await writeFile(file, stdout.trim())
  return file
}
