// Notices that containerd stops answering. Nothing on disk tells it: a socket outlives its process, and a daemon that
// hangs changes no file. One small call a second on one connection is what it costs; what to do about it is the loop's
// to find out.
import { NO_RUNTIME } from '../model/observed-state.ts'
import type { Clock, CriClient, CriConnector } from '../model/ports.ts'

/** With the time that a call may take, a containerd that ends or hangs is noticed within two seconds. */
const EVERY_MS = 1_000
const PATIENCE_MS = 900

export type PulseOptions = {
  readonly clock: Clock
  readonly connectCri: CriConnector
  /** Where containerd answered last; null while it is known to be down, as the loop looks for it by itself then. */
  readonly socket: () => string | null
  readonly onLost: () => void
}

export function watchPulse({ clock, connectCri, socket, onLost }: PulseOptions): { close(): Promise<void> } {
  const closing = new AbortController()
  let open: { readonly socket: string; readonly cri: CriClient } | undefined
  const disconnect = () => {
    open?.cri.close()
    open = undefined
  }
  const beat = async (at: string): Promise<void> => {
    if (open?.socket !== at) {
      disconnect()
      open = { socket: at, cri: connectCri(at) }
    }
    try {
      await open.cri.version({ timeoutMs: PATIENCE_MS, signal: closing.signal })
    } catch {
      disconnect()
      if (!closing.signal.aborted) onLost()
    }
  }
  const beating = (async () => {
    for (;;) {
      await clock.sleep(EVERY_MS, { signal: closing.signal })
      const at = socket()
      if (at === null || at === NO_RUNTIME) disconnect()
      else await beat(at)
    }
  })().catch(() => undefined)
  return {
    async close() {
      closing.abort()
      await beating
      disconnect()
    },
  }
}
