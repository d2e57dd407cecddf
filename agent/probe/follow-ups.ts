// The other hosts that a pull from a registry needs: the token service that it names, and the storage that it redirects
// to. containerd verifies them with the trust of the registry itself, so each can fail although the registry is
// trusted. Everything here is anonymous, bounded, and only done after the registry's own certificate was verified.
import { type Finding, type FindingCode, finding } from '../model/finding.ts'
import type { HttpAnswer, TlsSight, TlsTarget } from '../model/ports.ts'
import { type BearerChallenge, bearerChallenge } from './challenge.ts'
import { explainAnswer, explainFailure, warningsOf } from './failure.ts'
import { inspectServer, type ProbeOptions, type ProbePorts, type Trust } from './handshake.ts'

export type RelatedFinding = { readonly host: string; readonly finding: Finding }

type Base = {
  readonly registry: string
  readonly target: TlsTarget
  readonly trust: Trust
  readonly sight: TlsSight
  readonly image: string | undefined
}

type Role = 'token' | 'blob'
const UNTRUSTED: { readonly [role in Role]: FindingCode } = {
  token: 'token-host-untrusted',
  blob: 'blob-host-untrusted',
}
const PURPOSE: { readonly [role in Role]: string } = { token: 'tokens', blob: 'the data of images' }

export async function followUps(
  base: Base,
  ports: ProbePorts,
  left: () => ProbeOptions,
): Promise<readonly RelatedFinding[]> {
  const { registry, sight } = base
  const { answer, answerFailure } = sight
  if (answerFailure !== undefined) return [{ host: registry, finding: explainFailure(answerFailure, registry, sight) }]
  if (answer === undefined) return []
  const found = await followAnswer(base, answer, ports, left)
  return [...found, ...warnings(registry, answer)]
}

/** Beside any other finding about the same host. */
function warnings(registry: string, answer: HttpAnswer): readonly RelatedFinding[] {
  return warningsOf(answer).map((text) => ({
    host: registry,
    finding: finding('registry-warning', `${registry} warns: ${text}`, { text }),
  }))
}

async function followAnswer(
  base: Base,
  answer: HttpAnswer,
  ports: ProbePorts,
  left: () => ProbeOptions,
): Promise<readonly RelatedFinding[]> {
  const { registry } = base
  const follower = new Follower(base, ports, left)
  const arrived = await follower.arrive(answer)
  if (arrived === undefined) return follower.found
  const said = await follower.explain(arrived)
  const challenge = arrived.status === 401 ? bearerChallenge(arrived.headers['www-authenticate'] ?? '') : undefined
  const token = challenge === undefined ? undefined : await follower.token(challenge)
  if (said === undefined || token !== undefined) await follower.data(token)
  else follower.found.push({ host: registry, finding: said })
  return follower.found
}

/** Where an answer sends the client, when that is another host. */
function redirectOf({ status, headers }: HttpAnswer, { registry }: Pick<Base, 'registry'>): URL | undefined {
  const location = headers['location']
  if (status < 300 || status > 399 || location === undefined) return undefined
  const url = URL.parse(location, `https://${registry}/`)
  return url !== null && hostOf(url) !== withoutDefaultPort(registry) ? url : undefined
}

function hostOf(url: URL): string {
  return url.protocol === 'http:' && url.port === '' ? `${url.host}:80` : url.host
}

function withoutDefaultPort(registry: string): string {
  return registry.replace(/:443$/, '').toLowerCase()
}

const MANIFESTS = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
].join(', ')

/** As Go's client, and with it containerd, has it. */
const MOST_REDIRECTS = 10
export const PROBE_MANIFEST = '/v2/registry-trust/probe/manifests/does-not-exist'

class Follower {
  readonly found: RelatedFinding[] = []
  readonly #base: Base
  readonly #ports: ProbePorts
  readonly #left: () => ProbeOptions

  constructor(base: Base, ports: ProbePorts, left: () => ProbeOptions) {
    this.#base = base
    this.#ports = ports
    this.#left = left
  }

  /** Follows the registry's redirects to the answer at their end; undefined: they end in a fault, which is noted. */
  async arrive(first: HttpAnswer): Promise<HttpAnswer | undefined> {
    const { registry, trust } = this.#base
    let [answer, url] = [first, new URL(`https://${registry}/v2/`)]
    for (let hops = 0; ; hops += 1) {
      const { location } = answer.headers
      const next = answer.status < 300 || answer.status > 399 ? null : URL.parse(location ?? '', url.href)
      if (next === null) return answer
      if (hops === MOST_REDIRECTS || next.href === url.href) {
        this.#note(registry, finding('redirect-loop', `${registry} redirects in a loop, at last to ${shown(next)}`))
        return undefined
      }
      const host = hostOf(next)
      if (next.protocol !== 'https:') {
        this.#note(host, this.#inTheClear(next, 'its answers'))
        return undefined
      }
      if (host !== withoutDefaultPort(registry) && !(await this.#mayFollow(next))) return undefined
      const seen = await inspectServer(host, trust, this.#ports, this.#left(), {
        path: `${next.pathname}${next.search}`,
      })
      if (seen.verdict.code !== 'trusted' || seen.sight.answer === undefined) return undefined
      ;[answer, url] = [seen.sight.answer, next]
    }
  }

  /**
   * Whether a redirect leads to a trusted host. Registries redirect to other paths below /v2/; all else is a page for
   * people.
   */
  async #mayFollow(url: URL): Promise<boolean> {
    const { registry, trust } = this.#base
    if (url.pathname.startsWith('/v2/')) {
      await this.visit(url, 'blob')
      return this.found.some(({ host, finding: { code } }) => host === hostOf(url) && code === 'trusted')
    }
    const { verdict } = await inspectServer(hostOf(url), trust, this.#ports, this.#left(), { path: '/' })
    if (verdict.code === 'trusted') return true
    const message = `${registry} redirects to the page ${shown(url)}: a login portal or captive portal`
    this.#note(hostOf(url), finding('login-page', message, { notes: [verdict.message] }))
    return false
  }

  /** What the answer to GET /v2/ says; a doubtful one is checked with the request that containerd makes. */
  async explain(answer: HttpAnswer): Promise<Finding | undefined> {
    const { registry, sight } = this.#base
    const said = explainAnswer(answer, registry, sight)
    const isDoubtful = said === undefined ? !speaksAsRegistry(answer) : answer.status === 404
    if (!isDoubtful) return said
    const manifest = await this.#get(PROBE_MANIFEST, undefined, { accept: MANIFESTS })
    return manifest === undefined ? said : explainManifest(manifest, registry, sight)
  }

  #inTheClear(url: URL, what: string): Finding {
    const message = `${this.#base.registry} sends containerd to ${shown(url)} for ${what}, without TLS`
    return finding('plain-http-redirect', message)
  }

  /** Looks at another host and notes whether it is trusted; its answer only if it is. */
  async visit(url: URL, role: Role): Promise<HttpAnswer | undefined> {
    const { registry, trust } = this.#base
    const host = hostOf(url)
    const isSame = host === withoutDefaultPort(registry)
    if (url.protocol === 'http:') {
      this.#note(host, this.#inTheClear(url, PURPOSE[role]))
      return undefined
    }
    // The path may tell names of images: it is sent only to a host that has been verified.
    const seen = await inspectServer(host, trust, this.#ports, this.#left(), { path: '/' })
    if (!isSame) this.#note(host, this.#verdict(host, role, seen.verdict))
    if (seen.verdict.code !== 'trusted' || role !== 'token') return undefined
    const asked = await inspectServer(host, trust, this.#ports, this.#left(), { path: `${url.pathname}${url.search}` })
    return asked.verdict.code === 'trusted' ? asked.sight.answer : undefined
  }

  /** An anonymous token, as every client would get it for a public image. */
  async token({ realm, service }: BearerChallenge): Promise<string | undefined> {
    const url = new URL(realm)
    if (service !== undefined) url.searchParams.set('service', service)
    const repository = this.#repository()?.name
    if (repository !== undefined) url.searchParams.set('scope', `repository:${repository}:pull`)
    const answer = await this.visit(url, 'token')
    if (answer?.status !== 200) return undefined
    const body = parseJson(answer.body)
    return textAt(body, 'token') ?? textAt(body, 'access_token')
  }

  /** Follows one image to its data, to see which host serves it. */
  async data(token: string | undefined): Promise<void> {
    const repository = this.#repository() ?? (token === undefined ? await this.#anyRepository() : undefined)
    if (repository === undefined) return
    const { name, reference } = repository
    const digest = await this.#configDigest(name, reference, token)
    if (digest === undefined) return
    const answer = await this.#get(`/v2/${name}/blobs/${digest}`, token, { range: 'bytes=0-0' })
    const redirect = answer && redirectOf(answer, this.#base)
    if (redirect !== undefined) await this.visit(redirect, 'blob')
  }

  #note(host: string, found: Finding): void {
    if (!this.found.some((one) => one.host === host)) this.found.push({ host, finding: found })
  }

  #verdict(host: string, role: Role, verdict: Finding): Finding {
    const { registry } = this.#base
    const isCertificate = ![
      'trusted',
      'dns',
      'cluster-dns',
      'refused',
      'timeout',
      'plain-http',
      'not-tls',
      'connection-closed',
      'proxy-error',
      'tls-version',
      'client-certificate-required',
      'unclassified',
    ].includes(verdict.code)
    const message = `${registry} sends containerd to ${host} for ${PURPOSE[role]}: ${verdict.message}`
    if (!isCertificate) return { ...verdict, message }
    const remedy = `Add the CA of ${host} to the anchors of ${registry}: containerd verifies ${host} with them.`
    return { ...finding(UNTRUSTED[role], message, { ...verdict.evidence, host }), remedy }
  }

  #repository(): { readonly name: string; readonly reference: string } | undefined {
    const { image, registry } = this.#base
    if (image === undefined || !image.startsWith(`${registry}/`)) return undefined
    const match = /^([a-z0-9][a-z0-9._/-]*?)(?::([\w.-]{1,128}))?(?:@(sha256:[0-9a-f]{64}))?$/.exec(
      image.slice(registry.length + 1),
    )
    if (match?.[1] === undefined) return undefined
    return { name: match[1], reference: match[3] ?? match[2] ?? 'latest' }
  }

  /** Many private registries tell anonymous clients what they hold. */
  async #anyRepository(): Promise<{ readonly name: string; readonly reference: string } | undefined> {
    const [name] = textsAt(await this.#json('/v2/_catalog?n=1'), 'repositories')
    if (name === undefined || !/^[a-z0-9][a-z0-9._/-]{0,250}$/.test(name)) return undefined
    const [reference] = textsAt(await this.#json(`/v2/${name}/tags/list?n=1`), 'tags')
    return reference !== undefined && /^[\w.-]{1,128}$/.test(reference) ? { name, reference } : undefined
  }

  async #configDigest(name: string, reference: string, token: string | undefined): Promise<string | undefined> {
    let manifest = await this.#json(`/v2/${name}/manifests/${reference}`, token, { accept: MANIFESTS })
    const [first] = listAt(manifest, 'manifests')
    const inner = textAt(first, 'digest')
    if (isDigest(inner)) manifest = await this.#json(`/v2/${name}/manifests/${inner}`, token, { accept: MANIFESTS })
    const digest = textAt(valueAt(manifest, 'config'), 'digest')
    return isDigest(digest) ? digest : undefined
  }

  async #json(path: string, token?: string, headers: { readonly [name: string]: string } = {}): Promise<unknown> {
    const answer = await this.#get(path, token, headers)
    return answer?.status === 200 ? parseJson(answer.body) : undefined
  }

  async #get(
    path: string,
    token: string | undefined,
    headers: { readonly [name: string]: string },
  ): Promise<HttpAnswer | undefined> {
    const { registry, trust } = this.#base
    const authorization =
      token === undefined || !/^[\x21-\x7e]+$/.test(token) ? {} : { authorization: `Bearer ${token}` }
    const seen = await inspectServer(registry, trust, this.#ports, this.#left(), {
      path,
      headers: { ...headers, ...authorization },
    })
    return seen.verdict.code === 'trusted' ? seen.sight.answer : undefined
  }
}

/** Signs of a registry: what distribution and nearly every other one sends. */
function speaksAsRegistry({ headers }: HttpAnswer): boolean {
  return headers['docker-distribution-api-version'] !== undefined || /json/i.test(headers['content-type'] ?? '')
}

/**
 * What the answer to the request for a manifest that does not exist says, as containerd would take it: a page for
 * people is no answer of a
 * registry, whatever its status.
 */
export function explainManifest(
  answer: HttpAnswer,
  registry: string,
  sight: Pick<TlsSight, 'wantsClientCertificate'>,
): Finding | undefined {
  const type = answer.headers['content-type'] ?? ''
  if (answer.status === 404 && !/^text\/html/i.test(type)) return undefined
  if (answer.status === 200 && /^text\//i.test(type))
    return finding('login-page', `${registry} answers every request with a page (${type.slice(0, 60)})`)
  if (answer.status === 404)
    return finding('not-a-registry', `${registry} answers with a web server's page for what does not exist (404)`)
  return explainAnswer(answer, registry, sight)
}

/** Without the query: it may be signed. */
function shown({ protocol, host, pathname }: URL): string {
  return `${protocol}//${host}${pathname}`
}

function isDigest(text: string | undefined): text is string {
  return text !== undefined && /^sha256:[0-9a-f]{64}$/.test(text)
}

function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'))
  } catch {
    // Not a registry's answer: nothing follows from it.
    return undefined
  }
}

function valueAt(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null && key in value
    ? (value as { readonly [key: string]: unknown })[key]
    : undefined
}

function textAt(value: unknown, key: string): string | undefined {
  const text = valueAt(value, key)
  return typeof text === 'string' ? text : undefined
}

function listAt(value: unknown, key: string): readonly unknown[] {
  const list = valueAt(value, key)
  return Array.isArray(list) ? list : []
}

function textsAt(value: unknown, key: string): readonly string[] {
  return listAt(value, key).filter((one) => typeof one === 'string')
}
