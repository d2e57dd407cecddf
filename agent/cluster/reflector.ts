// Keeps a picture of a list of objects: reads it in pages, then follows it. Of each object only what is asked for is
// kept, since whole Node objects of a large cluster would cost more memory than all the rest. Rules: a watch that
// breaks goes on where it was; one that is too old (410) is read anew; what was there before stays visible meanwhile.
import { type KubeConfig, type KubernetesListObject, type KubernetesObject, Watch } from '@kubernetes/client-node'
import type { Log } from '../model/ports.ts'
import { watchWhile } from './watch-while.ts'

const PAGE = 500
const FIRST_PAUSE_MS = 500
const LAST_PAUSE_MS = 30_000
/** This many failures in a row are a problem, for as long as the next one may be away. */
const MANY_FAILURES = 3
const PROBLEM_MS = 70_000
/** The server ends a watch by itself after this. */
const WATCH_SECONDS = 290
/** One that ends sooner was refused in some way, and is not begun anew at once. */
const SHORTEST_WATCH_MS = 1_000

export type Source<Kept> = {
  readonly config: KubeConfig
  readonly path: string
  readonly selectors: { readonly labelSelector?: string; readonly fieldSelector?: string }
  /** One page of the list. */
  list(page: { readonly limit: number; readonly _continue?: string }): Promise<KubernetesListObject<KubernetesObject>>
  /** Undefined: it does not matter. */
  keep(object: KubernetesObject): Kept | undefined
  /** Of an object; by default its name. */
  readonly keyOf?: (object: KubernetesObject) => string
  readonly onChange: () => void
  readonly log: Log
}

export type Reflection<Kept> = {
  readonly objects: ReadonlyMap<string, Kept>
  isSynced(): boolean
  /** Why it cannot be read or followed, time and again; undefined: it can, or that is not known yet. */
  problem(): string | undefined
  close(): void
}

export function reflect<Kept>(source: Source<Kept>): Reflection<Kept> {
  const objects = new Map<string, Kept>()
  const closing = new AbortController()
  let isSynced = false
  let failed = { times: 0, atMs: 0, reason: '' }
  const follow = async () => {
    let version: string | undefined
    let pauseMs = FIRST_PAUSE_MS
    while (!closing.signal.aborted) {
      try {
        if (version === undefined) {
          version = await readAll(source, objects)
          isSynced = true
          failed = { ...failed, times: 0 }
          source.onChange()
        }
        const begunMs = performance.now()
        version = await watchFrom(source, objects, version, closing.signal)
        if (performance.now() - begunMs < SHORTEST_WATCH_MS) throw new Error('the watch ended at once')
        pauseMs = FIRST_PAUSE_MS
        failed = { ...failed, times: 0 }
      } catch (thrown) {
        const reason = (thrown instanceof Error ? thrown.message : String(thrown)).slice(0, 200)
        failed = { times: failed.times + 1, atMs: performance.now(), reason }
        source.log.debug('watch-ended', { path: source.path, reason })
        if (thrown instanceof TooOld) version = undefined
        await pause(pauseMs * (0.5 + Math.random() / 2), closing.signal)
        pauseMs = Math.min(pauseMs * 2, LAST_PAUSE_MS)
      }
    }
  }
  void follow()
  const problem = () =>
    failed.times >= MANY_FAILURES && performance.now() - failed.atMs < PROBLEM_MS ? failed.reason : undefined
  return { objects, isSynced: () => isSynced, problem, close: () => closing.abort() }
}

class TooOld extends Error {}

async function readAll<Kept>(
  { list, keep, keyOf = nameOf }: Source<Kept>,
  objects: Map<string, Kept>,
): Promise<string> {
  const found = new Map<string, Kept>()
  let next: string | undefined
  let version = ''
  do {
    const page = await list({ limit: PAGE, ...(next === undefined ? {} : { _continue: next }) })
    for (const object of page.items) {
      const kept = keep(object)
      if (kept !== undefined) found.set(keyOf(object), kept)
    }
    version = page.metadata?.resourceVersion ?? ''
    next = page.metadata?._continue === '' ? undefined : page.metadata?._continue
  } while (next !== undefined)
  for (const name of objects.keys()) if (!found.has(name)) objects.delete(name)
  for (const [name, kept] of found) objects.set(name, kept)
  return version
}

/** Returns the version to go on from when the server has ended the watch. */
function watchFrom<Kept>(
  { config, path, selectors, keep, keyOf = nameOf, onChange }: Source<Kept>,
  objects: Map<string, Kept>,
  from: string,
  signal: AbortSignal,
): Promise<string> {
  const query = { ...selectors, resourceVersion: from, allowWatchBookmarks: true, timeoutSeconds: WATCH_SECONDS }
  let version = from
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const onEvent = (phase: string, object: KubernetesObject & { readonly code?: number; readonly message?: string }) => {
    if (phase === 'ERROR') {
      reject(object.code === 410 ? new TooOld('the watch is too old') : new Error(object.message ?? 'watch error'))
      return
    }
    version = object.metadata?.resourceVersion ?? version
    const kept = phase === 'ADDED' || phase === 'MODIFIED' ? keep(object) : undefined
    if (kept !== undefined) objects.set(keyOf(object), kept)
    else if (phase !== 'BOOKMARK') objects.delete(keyOf(object))
    if (phase !== 'BOOKMARK') onChange()
  }
  const onEnd = (thrown: unknown) => {
    if ((thrown as { readonly statusCode?: number } | null)?.statusCode === 410) reject(new TooOld('410 Gone'))
    else if (thrown instanceof Error && thrown.name !== 'TimeoutError' && !signal.aborted) reject(thrown)
    else resolve(version)
  }
  const stop = new AbortController()
  watchWhile(AbortSignal.any([signal, stop.signal]), new Watch(config), path, query, onEvent, onEnd)
  return promise.finally(() => stop.abort())
}

function nameOf({ metadata }: KubernetesObject): string {
  return metadata?.name ?? ''
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms)
    signal.addEventListener(
      'abort',
      () => {
        clearTimeout(timer)
        resolve()
      },
      { once: true },
    )
  })
}
