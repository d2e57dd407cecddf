// Credentials whose requests share connections. The library makes a dispatcher for each request, and with it a TLS
// handshake: a fleet of thousands then spends its time on handshakes, here and in the API server.
import { KubeConfig, type RequestContext } from '@kubernetes/client-node'

/** A CA, certificate or key that was renewed on disk is taken up after this. */
const RENEW_MS = 60_000

type Dispatcher = NonNullable<ReturnType<RequestContext['getDispatcher']>>

export class KeptConnections extends KubeConfig {
  #kept: { readonly dispatcher: Dispatcher; readonly sinceMs: number } | undefined
  readonly #now: () => number

  constructor(now: () => number = () => performance.now()) {
    super()
    this.#now = now
  }

  /** As the library does it, token included; only the connections are those of the requests before. */
  override async applySecurityAuthentication(context: RequestContext): Promise<void> {
    await super.applySecurityAuthentication(context)
    const dispatcher = context.getDispatcher()
    if (dispatcher === undefined) return
    const nowMs = this.#now()
    // One that is replaced ends with its last request: idle connections close by themselves after some seconds.
    if (this.#kept === undefined || nowMs - this.#kept.sinceMs >= RENEW_MS) this.#kept = { dispatcher, sinceMs: nowMs }
    context.setDispatcher(this.#kept.dispatcher)
  }
}
