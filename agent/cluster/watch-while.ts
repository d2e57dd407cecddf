// A watch of the API server that ends with a signal, also where the signal comes while the server has not answered yet:
// the library hands out what stops a watch only then.
import type { Watch } from '@kubernetes/client-node'

/**
 * Begins a watch and returns at once. `onEnd` is called once it is over, with undefined or null where the server or
 * `signal` ended it, else with what was thrown; it may be called twice.
 */
export function watchWhile<Seen>(
  signal: AbortSignal,
  watch: Pick<Watch, 'watch'>,
  path: string,
  query: Readonly<Record<string, string | number | boolean | undefined>>,
  onEvent: (phase: string, seen: Seen) => void,
  onEnd: (thrown: unknown) => void,
): void {
  if (signal.aborted) {
    onEnd(undefined)
    return
  }
  let stop: (() => void) | undefined
  const onAbort = () => {
    stop?.()
    end(undefined)
  }
  const end = (thrown: unknown) => {
    signal.removeEventListener('abort', onAbort)
    onEnd(thrown)
  }
  signal.addEventListener('abort', onAbort, { once: true })
  watch.watch(path, query, onEvent, end).then((controller) => {
    if (signal.aborted) controller.abort()
    else stop = () => controller.abort()
  }, end)
}
