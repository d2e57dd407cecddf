// Looks at a TLS server (port TlsProbe) with the offers that a Go client such as containerd makes. It verifies nothing,
// so that also a broken server can be seen, and therefore sends no secret and trusts no answer. Every look has a
// deadline and bounded bytes.
// This room: one look at a TLS server, and one try of a login: the ports TlsProbe and RegistryLogin.
// Begin here; then tls-transcript.ts (what was on the wire), registry-login.ts.
// May touch: the network, with a deadline on each look; nothing of the node.
import { type LookupAddress, type LookupOptions, lookup } from 'node:dns'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { BlockList, isIP, type Socket, connect as tcpConnect } from 'node:net'
import { Duplex } from 'node:stream'
import {
  type ConnectionOptions,
  createSecureContext,
  type SecureContext,
  type SecureContextOptions,
  type TLSSocket,
  connect as tlsConnect,
} from 'node:tls'
import type {
  CallOptions,
  HttpAnswer,
  TlsFailure,
  TlsLookOptions,
  TlsProbe,
  TlsSight,
  TlsTarget,
} from '../../model/ports.ts'
import { openTunnel } from './proxy-tunnel.ts'
import { readTranscript } from './tls-transcript.ts'

const MOST_BODY_BYTES = 64 * 1024
const MOST_RECORDED_BYTES = 512 * 1024
const MOST_RECEIVED_BYTES = 4 * 1024 * 1024
/** A server that shook hands and then says nothing must not use up the whole deadline. */
const ANSWER_MS = 5_000

export function tlsProbe(): TlsProbe {
  return { inspect, fetch: fetchPlain }
}

/**
 * What Go offers (crypto/tls defaults up to 1.21); SECLEVEL=0 so that OpenSSL looks at weak certificates too instead of
 * hanging up.
 */
const LIKE_GO: SecureContextOptions = {
  ciphers: [
    'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256',
    'ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384',
    'ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA',
    'ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES256-SHA:AES128-GCM-SHA256:AES256-GCM-SHA384:AES128-SHA:AES256-SHA:@SECLEVEL=0',
  ].join(':'),
  sigalgs: [
    'rsa_pss_rsae_sha256:ecdsa_secp256r1_sha256:ed25519:rsa_pss_rsae_sha384:rsa_pss_rsae_sha512:rsa_pkcs1_sha256',
    'rsa_pkcs1_sha384:rsa_pkcs1_sha512:ecdsa_secp384r1_sha384:ecdsa_secp521r1_sha512:rsa_pkcs1_sha1:ecdsa_sha1',
  ].join(':'),
  ecdhCurve: 'X25519:P-256:P-384:P-521',
}
const UNVERIFIED: ConnectionOptions = { ALPNProtocols: ['http/1.1'], rejectUnauthorized: false }

const contexts = new Map<string, SecureContext>()

/** One for all looks of a kind: making one costs more time and memory than the handshake. It keeps no session. */
function contextFor(minVersion: 'TLSv1' | 'TLSv1.2'): SecureContext {
  const known = contexts.get(minVersion)
  if (known !== undefined) return known
  const made = createSecureContext({ ...LIKE_GO, minVersion })
  contexts.set(minVersion, made)
  return made
}

async function inspect(target: TlsTarget, options: TlsLookOptions): Promise<TlsSight> {
  const deadline = AbortSignal.timeout(options.timeoutMs)
  const signal = options.signal === undefined ? deadline : AbortSignal.any([deadline, options.signal])
  const tcp = await openTcp(target, signal)
  if (!tcp.ok) return { ...NOTHING, failure: tcp.failure }
  // TLS on a stream of our own costs more than on the connection itself.
  const recorder = options.isAnswerOnly === true ? undefined : new Recorder(tcp.socket)
  try {
    const shaken = await shakeHands(recorder ?? tcp.socket, target, options, signal)
    const received = recorder?.received ?? Buffer.alloc(0)
    const { chain, wantsClientCertificate } = readTranscript(received, shaken.secret)
    const seen = { address: tcp.address, chain, wantsClientCertificate, protocol: shaken.protocol }
    if (!shaken.ok) return { ...seen, failure: nameFailure(shaken.error, signal, received) }
    if (options.request === undefined) return seen
    const answered = await getOver(shaken.socket, target, options.request, signal)
    if (answered.ok) return { ...seen, answer: answered.answer }
    const failure = nameFailure(answered.error, answered.signal, Buffer.alloc(0))
    // In TLS 1.3 a client without a certificate is turned away only now.
    return failure.kind === 'alert' ? { ...seen, failure } : { ...seen, answerFailure: failure }
  } finally {
    recorder?.destroy()
    tcp.socket.destroy()
  }
}

const NOTHING = { address: undefined, chain: [], protocol: undefined, wantsClientCertificate: false }

type Opened =
  | { readonly ok: true; readonly socket: Socket; readonly address: string | undefined }
  | { readonly ok: false; readonly failure: TlsFailure }

async function openTcp(target: TlsTarget, signal: AbortSignal): Promise<Opened> {
  const { proxy } = target
  const { host, port } = proxy ?? target
  const socket = tcpConnect({ host, port, signal })
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve).once('error', reject)
    })
    socket.on('error', () => undefined)
    if (proxy !== undefined) await openTunnel(socket, target, proxy, signal)
    return { ok: true, socket, address: proxy === undefined ? socket.remoteAddress : undefined }
  } catch (error) {
    socket.destroy()
    const failure = nameFailure(error, signal, Buffer.alloc(0))
    if (proxy === undefined || signal.aborted) return { ok: false, failure }
    return { ok: false, failure: { kind: 'proxy', text: `${host}:${port}: ${failure.text}` } }
  }
}

type Shaken = { readonly secret: Buffer | undefined; readonly protocol: string | undefined } & (
  | { readonly ok: true; readonly socket: TLSSocket }
  | { readonly ok: false; readonly error: unknown }
)

async function shakeHands(
  connection: Duplex,
  { host, serverName }: TlsTarget,
  { oldestProtocol = 'TLSv1.2' }: TlsLookOptions,
  signal: AbortSignal,
): Promise<Shaken> {
  const name = serverName === undefined ? host.replace(/\.$/, '') : serverName
  const sni = name === null || isIP(name) !== 0 ? {} : { servername: name }
  const socket = tlsConnect({ ...UNVERIFIED, ...sni, secureContext: contextFor(oldestProtocol), socket: connection })
  // It may tell of its end twice, and the second time nothing waits any more.
  socket.on('error', () => undefined)
  let secret: Buffer | undefined
  socket.on('keylog', (line: Buffer) => {
    const found = /^SERVER_HANDSHAKE_TRAFFIC_SECRET \S+ ([0-9a-f]+)/.exec(line.toString('latin1'))?.[1]
    if (found !== undefined) secret = Buffer.from(found, 'hex')
  })
  const abort = () => socket.destroy(signal.reason instanceof Error ? signal.reason : new Error('aborted'))
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('secureConnect', resolve).once('error', reject)
      socket.once('close', () => reject(new Error('the connection was closed')))
      if (signal.aborted) abort()
      signal.addEventListener('abort', abort, { once: true })
    })
    return { ok: true, socket, secret, protocol: socket.getProtocol() ?? undefined }
  } catch (error) {
    socket.destroy()
    return { ok: false, error, secret, protocol: undefined }
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

type Answered =
  | { readonly ok: true; readonly answer: HttpAnswer }
  | { readonly ok: false; readonly error: unknown; readonly signal: AbortSignal }

async function getOver(
  socket: TLSSocket,
  { host, port }: TlsTarget,
  { path, headers = {} }: NonNullable<TlsLookOptions['request']>,
  outer: AbortSignal,
): Promise<Answered> {
  const signal = AbortSignal.any([outer, AbortSignal.timeout(ANSWER_MS)])
  const shown = isIP(host) === 6 ? `[${host}]` : host
  try {
    const answer = await readAnswer(
      httpRequest({
        createConnection: () => socket,
        path,
        headers: {
          host: port === 443 ? shown : `${shown}:${port}`,
          'user-agent': 'registry-trust',
          accept: '*/*',
          ...headers,
        },
        signal,
      }),
    )
    return { ok: true, answer }
  } catch (error) {
    return { ok: false, error, signal }
  } finally {
    socket.destroy()
  }
}

async function readAnswer(request: ReturnType<typeof httpRequest>): Promise<HttpAnswer> {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    request.once('response', resolve).once('error', reject).end()
  })
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    chunks.push(chunk)
    length += chunk.length
    if (length >= MOST_BODY_BYTES) break
  }
  request.on('error', () => undefined).destroy()
  const headers = Object.entries(response.headers).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, Array.isArray(value) ? value.join(', ') : value] as const],
  )
  return {
    status: response.statusCode ?? 0,
    headers: Object.fromEntries(headers),
    body: Buffer.concat(chunks).subarray(0, MOST_BODY_BYTES),
  }
}

/** Stands between the network and TLS and keeps what came in, up to a bound. */
class Recorder extends Duplex {
  readonly #socket: Socket
  readonly #chunks: Buffer[] = []
  #length = 0

  constructor(socket: Socket) {
    super()
    this.#socket = socket
    socket.on('data', (chunk: Buffer) => {
      if (this.#length < MOST_RECORDED_BYTES) this.#chunks.push(chunk)
      this.#length += chunk.length
      if (this.#length > MOST_RECEIVED_BYTES) this.destroy(new Error('the server sends too much'))
      else if (!this.push(chunk)) socket.pause()
    })
    socket.on('end', () => this.push(null))
    socket.on('error', (error) => this.destroy(error))
    socket.on('close', () => this.destroy())
  }

  get received(): Buffer {
    return Buffer.concat(this.#chunks)
  }

  override _read(): void {
    this.#socket.resume()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#socket.write(chunk, done)
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#socket.end(done)
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#socket.destroy()
    done(error)
  }
}

const DNS = new Set(['ENOTFOUND', 'EAI_AGAIN', 'EAI_NODATA', 'EAI_NONAME', 'EAI_FAIL'])
const REFUSED = new Set(['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'EHOSTDOWN', 'EACCES', 'EADDRNOTAVAIL'])

function nameFailure(error: unknown, signal: AbortSignal, received: Buffer): TlsFailure {
  const { code = '', message: text } =
    error instanceof Error ? (error as NodeJS.ErrnoException) : { message: String(error) }
  if (signal.aborted || code === 'ETIMEDOUT') return { kind: 'timeout', text: 'no answer in time' }
  if (DNS.has(code)) return { kind: 'dns', text }
  if (REFUSED.has(code)) return { kind: 'refused', text: text || code }
  // A record of TLS begins with a type between 20 and 23 and version 3.
  const isTls = received.length === 0 || ((received[0] ?? 0) >= 20 && (received[0] ?? 0) <= 23 && received[1] === 3)
  if (!isTls) return { kind: 'not-tls', text: received.subarray(0, 80).toString('latin1') }
  const alert = /_ALERT_(.+)$/.exec(code)?.[1]
  if (alert !== undefined) return { kind: 'alert', text: alert.toLowerCase().replaceAll('_', ' ') }
  if (code.startsWith('ERR_SSL_')) return { kind: 'protocol', text: code.slice(8).toLowerCase().replaceAll('_', ' ') }
  return { kind: 'closed', text: code || text }
}

const NEVER_FETCHED = new BlockList()
NEVER_FETCHED.addSubnet('127.0.0.0', 8, 'ipv4')
NEVER_FETCHED.addSubnet('0.0.0.0', 8, 'ipv4')
NEVER_FETCHED.addSubnet('169.254.0.0', 16, 'ipv4')
NEVER_FETCHED.addAddress('::1', 'ipv6')
NEVER_FETCHED.addAddress('::', 'ipv6')
NEVER_FETCHED.addSubnet('fe80::', 10, 'ipv6')

/**
 * A served certificate chose this address: it must not make the agent talk to services that trust their own machine.
 */
async function fetchPlain(url: string, { timeoutMs, signal }: CallOptions): Promise<Buffer | undefined> {
  const parsed = URL.parse(url)
  if (parsed?.protocol !== 'http:') return undefined
  const host = parsed.hostname.replace(/^\[(.*)\]$/, '$1')
  if (isIP(host) !== 0 && isNeverFetched(host)) return undefined
  const deadline = AbortSignal.timeout(timeoutMs)
  try {
    const request = httpRequest({
      host,
      port: parsed.port === '' ? 80 : Number(parsed.port),
      path: `${parsed.pathname}${parsed.search}`,
      headers: { host: parsed.host, 'user-agent': 'registry-trust' },
      agent: false,
      lookup: lookupElsewhere,
      signal: signal === undefined ? deadline : AbortSignal.any([deadline, signal]),
    })
    const answer = await readAnswer(request)
    return answer.status === 200 ? answer.body : undefined
  } catch {
    // It is evidence only: without it the finding is less precise, and says so.
    return undefined
  }
}

type LookedUp = (error: NodeJS.ErrnoException | null, address: string | LookupAddress[], family?: number) => void

function lookupElsewhere(hostname: string, options: LookupOptions, done: LookedUp): void {
  lookup(hostname, { ...options, all: true }, (error, addresses) => {
    const allowed = (addresses ?? []).filter(({ address }) => !isNeverFetched(address))
    const [first] = allowed
    if (error !== null || first === undefined) done(error ?? new Error(`${hostname} leads to this machine`), '')
    else if (options.all === true) done(null, allowed)
    else done(null, first.address, first.family)
  })
}

function isNeverFetched(address: string): boolean {
  return NEVER_FETCHED.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4')
}
