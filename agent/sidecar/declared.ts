// What a sidecar may know of the configuration: read by itself from its own read-only volume, never told by the agent.
// The rule: a broken file changes nothing, and before the first good one nothing is declared.
import type { DesiredState, Registry, RestartSettings } from '../model/desired-state.ts'
import type { Clock, Log } from '../model/ports.ts'

export type Declaration = {
  readonly registries: readonly Registry[]
  readonly restart: RestartSettings | undefined
  readonly sandboxImage?: string | undefined
  /** Whether images are pulled for Pods that wait for them. */
  readonly wakePods?: boolean | undefined
}

export type Declared = { current(): Promise<Declaration> }

/** Looked at again for each question, but a burst of them reads once. */
const FRESH_MS = 1_000

type Loaded = { readonly ok: true; readonly desired: DesiredState } | { readonly ok: false }

export function declaredBy(
  load: () => Promise<Loaded>,
  { clock, log }: { readonly clock: Clock; readonly log: Log },
): Declared {
  let last: Declaration = { registries: [], restart: undefined }
  let read: { readonly at: number; readonly done: Promise<void> } | undefined
  const refresh = async () => {
    try {
      const loaded = await load()
      if (loaded.ok) {
        const { registries, restart, sandboxImage, fleet } = loaded.desired
        last = { registries, restart, sandboxImage, wakePods: fleet?.wakePods }
      }
      if (!loaded.ok) log.warn('config-invalid', { kept: last.registries.length })
    } catch (error) {
      log.warn('config-unreadable', { error: error instanceof Error ? error.message : String(error) })
    }
  }
  return {
    async current() {
      const now = clock.monotonic()
      if (read === undefined || now - read.at >= FRESH_MS) read = { at: now, done: refresh() }
      await read.done
      return last
    },
  }
}
