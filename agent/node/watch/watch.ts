// Tells that something in the watched folders changed (port Watcher). The rules: an event means "look again" and
// nothing more; a burst is one call; a folder that is deleted and made again stays watched, because its parent is
// watched with it.
import { realpathSync } from 'node:fs'
import { dirname, join } from 'node:path/posix'
import type { FSWatcher } from 'chokidar'
import type { Log, Watcher } from '../../model/ports.ts'
import { STAGING } from '../files/staging.ts'
import { coalesce } from './coalesce.ts'
import { watchFolder } from './folder-watch.ts'

export function watcher({ log }: { readonly log?: Log } = {}): Watcher {
  return {
    watch(folders, onChange) {
      const coalesced = coalesce(onChange)
      const watched = folders.map(({ path, depth }) => startWatching(path, depth, coalesced.poke, log))
      return {
        ready: Promise.all(watched.map(async (each) => (await each).ready)).then(() => undefined),
        async close() {
          coalesced.cancel()
          await Promise.all(watched.map(async (each) => (await each).watching.close()))
        },
      }
    },
  }
}

/**
 * The same for folders of the node, of which there are thousands: one watch per folder. What the kubelet swaps by links
 * is chokidar's.
 */
export function nodeWatcher({ log }: { readonly log?: Log } = {}): Watcher {
  return {
    watch(folders, onChange) {
      const coalesced = coalesce(onChange)
      const watched = folders.map(({ path, depth }) =>
        watchFolder(resolved(path), depth, {
          onChange: coalesced.poke,
          onFailure(error) {
            // Usually no inotify watch is left: the periodic resync sees what this watcher cannot.
            log?.warn('watch-failed', { path, reason: error instanceof Error ? error.message : String(error) })
            coalesced.poke()
          },
        }),
      )
      return {
        ready: Promise.resolve(),
        async close() {
          coalesced.cancel()
          for (const each of watched) each.close()
        },
      }
    },
  }
}

type Watching = { readonly watching: FSWatcher; readonly ready: Promise<void> }

async function startWatching(path: string, depth: number, poke: () => void, log: Log | undefined): Promise<Watching> {
  const { watch } = await import('chokidar')
  const folder = resolved(path)
  const parent = dirname(folder)
  const belongs = (each: string) => each === parent || each === folder || each.startsWith(`${folder}/`)
  const watching = watch(parent, {
    ignoreInitial: true,
    depth: depth + 1,
    // A key of a ConfigMap is a link into `..data`, and /etc/ssl/certs is a folder of links: following would open a
    // watch for each.
    followSymlinks: false,
    ignorePermissionErrors: true,
    atomic: false,
    ignored: (each) => !belongs(each) || each.includes(`/${STAGING}`),
  })
  watching.on('all', (_event, each) => {
    if (each !== parent) poke()
  })
  watching.on('error', (error) => {
    // Usually no inotify watch is left: the periodic resync sees what this watcher cannot.
    log?.warn('watch-failed', { path, reason: error instanceof Error ? error.message : String(error) })
    poke()
  })
  const ready = new Promise<void>((resolve) => watching.once('ready', () => resolve()))
  return { watching, ready }
}

/** The path without links, as far as it exists: chokidar is told not to follow any. */
function resolved(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    const parent = dirname(path)
    return parent === path ? path : join(resolved(parent), path.slice(parent === '/' ? 1 : parent.length + 1))
  }
}
