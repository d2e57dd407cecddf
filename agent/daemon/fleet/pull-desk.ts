// Pulls what the fleet component tells for Pods that wait in ImagePullBackOff: without a login, nothing that is on the
// node already, and each image once for as long as the note names it.
import { pullId } from '../../config/fleet-note.ts'
import { asAgentError } from '../../model/errors.ts'
import type { PullReport } from '../../model/fleet.ts'
import { hostOf } from '../../model/image-reference.ts'
import type { CriClient, Log } from '../../model/ports.ts'

/** A large image over a slow line; containerd itself ends a pull that does not move. */
const PULL_MS = 10 * 60_000
const LOOK_MS = 10_000

export type PullDesk = {
  /** What the note names now; returns at once. */
  follow(images: readonly string[]): void
  /** What has ended. */
  report(): readonly PullReport[]
  close(): void
}

export type PullDeskOptions = {
  /** A client for one pull; undefined: no runtime is known yet. */
  readonly connect: () => CriClient | undefined
  readonly isDeclared: (host: string) => boolean
  readonly log: Log
}

type Pull = { ended: boolean; ok: boolean; readonly ending: AbortController }

export function pullDesk({ connect, isDeclared, log }: PullDeskOptions): PullDesk {
  const pulls = new Map<string, Pull>()

  const isThere = async (image: string, signal: AbortSignal): Promise<boolean> => {
    const host = hostOf(image)
    if (host === undefined || !isDeclared(host)) return refused(image, 'its registry is not declared')
    const cri = connect()
    if (cri === undefined) return refused(image, 'no runtime has answered yet')
    try {
      if (await cri.imageExists(image, { timeoutMs: LOOK_MS, signal })) return true
      const result = await cri.pullImage(image, { timeoutMs: PULL_MS, signal })
      if (!result.ok) return refused(image, `${result.status}: ${result.text.slice(0, 300)}`)
      log.info('pulled-for-pod', { image })
      return true
    } finally {
      cri.close()
    }
  }
  const refused = (image: string, reason: string) => {
    log.warn('pull-for-pod-failed', { image, reason })
    return false
  }
  const begin = async (image: string, pull: Pull) => {
    try {
      pull.ok = await isThere(image, pull.ending.signal)
    } catch (thrown) {
      if (!pull.ending.signal.aborted) refused(image, asAgentError(thrown).message)
    } finally {
      pull.ended = true
    }
  }
  return {
    follow(images) {
      for (const [image, pull] of pulls) {
        if (images.includes(image)) continue
        pull.ending.abort()
        pulls.delete(image)
      }
      for (const image of images) {
        if (pulls.has(image)) continue
        const pull = { ended: false, ok: false, ending: new AbortController() }
        pulls.set(image, pull)
        void begin(image, pull)
      }
    },
    report: () => [...pulls].flatMap(([image, { ended, ok }]) => (ended ? [{ image: pullId(image), ok }] : [])),
    close() {
      this.follow([])
    },
  }
}
