// The part of the Kubernetes API that `publish` uses, over real HTTP, as its documentation describes it: server-side apply with field
// ownership, optimistic locking, watches. It is no Kubernetes: test/cluster/test-cluster.ts runs the same cases against Kubernetes' own library.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'

type Tree = { [key: string]: unknown }
type Stored = { object: Tree; owned: Map<string, ReadonlySet<string>>; version: number }

/** `verb` as Kubernetes names it. */
export type SeenRequest = { readonly verb: string; readonly path: string }

const VERBS: { readonly [method: string]: string } = { GET: 'get', POST: 'create', PUT: 'update', PATCH: 'patch' }

export class ApiServer {
  readonly requests: SeenRequest[] = []
  /** What was presented as authorization. */
  readonly tokens = new Set<string>()
  /** Answered instead of doing it: how `PATCH /api/…` begins → status. */
  readonly refuse = new Map<string, number>()
  readonly #objects = new Map<string, Stored>()
  readonly #watchers = new Map<ServerResponse, string>()
  readonly #server: Server
  #version = 1

  constructor(identity: { readonly cert: string; readonly key: string }) {
    this.#server = createServer(identity, (request, response) => void this.#answer(request, response))
  }

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
    return `https://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async close(): Promise<void> {
    for (const response of this.#watchers.keys()) response.destroy()
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  /** As somebody else writes it. */
  put(path: string, object: Tree): void {
    this.#version += 1
    const owned = this.#objects.get(path)?.owned ?? new Map()
    this.#objects.set(path, { object: structuredClone(object), owned, version: this.#version })
    this.#tell(path)
  }

  get(path: string): Tree | undefined {
    return this.#objects.get(path)?.object
  }

  /** Who applied something to it. */
  managers(path: string): readonly string[] {
    return [...(this.#objects.get(path)?.owned.keys() ?? [])]
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = ''
    for await (const chunk of request) body += String(chunk)
    const url = new URL(request.url ?? '/', 'http://api')
    const { method = '' } = request
    const contentType = request.headers['content-type'] ?? ''
    const isWatch = url.searchParams.get('watch') === 'true'
    this.tokens.add(request.headers.authorization ?? '')
    this.requests.push({ verb: isWatch ? 'watch' : (VERBS[method] ?? method), path: url.pathname })
    const [, refused] = [...this.refuse].find(([start]) => `${method} ${url.pathname}`.startsWith(start)) ?? []
    if (refused !== undefined) return fail(response, refused, `${method} of ${url.pathname} is forbidden`)
    if (isWatch) return this.#watch(url, response)
    const found = this.#objects.get(url.pathname)
    switch (method) {
      case 'GET':
        return found === undefined ? fail(response, 404, 'not found') : send(response, 200, shown(found))
      case 'PATCH':
        return this.#apply(url, contentType, JSON.parse(body) as Tree, response)
      case 'PUT': {
        const object = JSON.parse(body) as { metadata: { resourceVersion?: string } }
        if (found === undefined) return fail(response, 404, 'not found')
        if (object.metadata.resourceVersion !== String(found.version))
          return fail(response, 409, 'the object has been modified')
        this.put(url.pathname, object)
        return send(response, 200, shown(this.#objects.get(url.pathname) as Stored))
      }
      case 'POST': {
        const object = JSON.parse(body) as { metadata: { name: string } }
        const path = `${url.pathname}/${object.metadata.name}`
        if (this.#objects.has(path)) return fail(response, 409, 'already exists')
        this.put(path, object)
        return send(response, 201, shown(this.#objects.get(path) as Stored))
      }
      default:
        return fail(response, 405, 'method not allowed')
    }
  }

  /** What this manager applied before and does not name any more goes; what others wrote stays. */
  #apply(url: URL, contentType: string, wish: Tree, response: ServerResponse): void {
    const manager = url.searchParams.get('fieldManager')
    const wrong = wrongApply(contentType, url, wish)
    if (wrong !== undefined || manager === null) {
      fail(response, 400, wrong ?? '')
      return
    }
    const found = this.#objects.get(url.pathname)
    const isNew = found === undefined
    const object = structuredClone(found?.object ?? {})
    const wanted = leaves(wish)
    const before = found?.owned.get(manager) ?? new Set<string>()
    for (const path of before) if (!wanted.has(path)) remove(object, JSON.parse(path) as string[])
    for (const [path, value] of wanted) set(object, JSON.parse(path) as string[], value)
    this.#version += 1
    const owned = new Map([...(found?.owned ?? []), [manager, new Set(wanted.keys())] as const])
    const isSame = !isNew && JSON.stringify(object) === JSON.stringify(found.object)
    const stored = { object, owned, version: isSame ? found.version : this.#version }
    this.#objects.set(url.pathname, stored)
    if (!isSame) this.#tell(url.pathname)
    send(response, isNew ? 201 : 200, shown(stored))
  }

  #watch(url: URL, response: ServerResponse): void {
    response.writeHead(200, { 'content-type': 'application/json' })
    response.flushHeaders()
    const name = /^metadata\.name=(.*)$/.exec(url.searchParams.get('fieldSelector') ?? '')?.[1] ?? ''
    this.#watchers.set(response, `${url.pathname}/${name}`)
    response.on('close', () => this.#watchers.delete(response))
  }

  #tell(path: string): void {
    for (const [response, watched] of this.#watchers)
      if (watched === path)
        response.write(`${JSON.stringify({ type: 'MODIFIED', object: shown(this.#objects.get(path) as Stored) })}\n`)
  }
}

function wrongApply(contentType: string, url: URL, wish: Tree): string | undefined {
  if (contentType !== 'application/apply-patch+yaml') return 'not a server-side apply'
  if (url.searchParams.get('fieldManager') === null || url.searchParams.get('force') !== 'true')
    return 'fieldManager and force are required'
  return wish['apiVersion'] === undefined || wish['kind'] === undefined ? 'apiVersion and kind are required' : undefined
}

function shown({ object, version }: Stored): Tree {
  return { ...object, metadata: { ...(object['metadata'] as Tree), resourceVersion: String(version) } }
}

function leaves(value: unknown, path: readonly string[] = []): Map<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return new Map([[JSON.stringify(path), value]])
  return new Map(Object.entries(value).flatMap(([key, child]) => [...leaves(child, [...path, key])]))
}

function set(object: Tree, [key = '', ...rest]: readonly string[], value: unknown): void {
  if (rest.length === 0) object[key] = value
  else {
    object[key] ??= {}
    set(object[key] as Tree, rest, value)
  }
}

function remove(object: Tree, [key = '', ...rest]: readonly string[]): void {
  if (rest.length === 0) delete object[key]
  else if (typeof object[key] === 'object' && object[key] !== null) remove(object[key] as Tree, rest)
}

function send(response: ServerResponse, status: number, body: Tree): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

function fail(response: ServerResponse, code: number, message: string): void {
  send(response, code, { kind: 'Status', apiVersion: 'v1', status: 'Failure', message, code })
}
