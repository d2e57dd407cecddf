// The agent's side of the fleet component: reads the note that its Pod mounts, says whether a restart is granted, and
// remembers what was used. The rule: a grant is written down as used before the restart it allows, and as expired
// before that is reported.
import { posix } from 'node:path'
import { configDigest } from '../../config/config-digest.ts'
import { MAX_NOTE_BYTES, NOTE_FILE, parseNote } from '../../config/fleet-note.ts'
import { asAgentError } from '../../model/errors.ts'
import type { ClosedGrant, FleetNote, GrantReport } from '../../model/fleet.ts'
import type { Clock, FleetGate, GrantStore, InputFiles, Log } from '../../model/ports.ts'
import {
  expiredGrant,
  noticeGrant,
  permitByGrant,
  rememberGrant,
  reportGrant,
  type SeenGrant,
} from '../../reconcile/restart/grant.ts'

/** A ConfigMap has at most 1 MiB. */
const MAX_FILE_BYTES = 2 * 1024 * 1024

export type FleetDesk = FleetGate & {
  /** Reads the note and the digest of the configuration anew. */
  reread(): Promise<void>
  /** Looks at the clock alone: a grant may be over. */
  tick(): Promise<void>
  note(): FleetNote | undefined
  /** Digest of the ConfigMap's files as the agent reads them; empty before the first look. */
  config(): string
  report(): GrantReport | null
  /** The run is over: a grant that was used for it is done. */
  ended(outcome: { readonly isUnderWay: boolean; readonly generation: string; readonly ok: boolean }): Promise<void>
}

export type DeskOptions = {
  readonly inputs: InputFiles
  /** Holds the note, and the ConfigMap's keys by name; undefined: the Pod mounts none. */
  readonly folder: string | undefined
  /** Where the agent reads its configuration. */
  readonly configFolder: string
  readonly store: GrantStore
  readonly clock: Pick<Clock, 'monotonic'>
  readonly log: Log
}

export function fleetDesk({ inputs, folder, configFolder, store, clock, log }: DeskOptions): FleetDesk {
  let note: FleetNote | undefined
  let config = ''
  let seen: SeenGrant | undefined
  let closed: readonly ClosedGrant[] = []
  let isLoaded = false

  const close = async (grant: ClosedGrant) => {
    const next = rememberGrant(closed, grant)
    await store.save(next)
    closed = next
  }
  const tick = async () => {
    const expired = expiredGrant(seen, closed, clock.monotonic())
    if (expired === undefined) return
    await close(expired)
    log.info('grant-expired', { grant: expired.id, generation: expired.generation })
  }
  const reread = async () => {
    if (!isLoaded) closed = await store.load()
    isLoaded = true
    if (folder !== undefined) {
      const file = await inputs.read(posix.join(folder, NOTE_FILE), { maxBytes: MAX_NOTE_BYTES })
      note = file.kind === 'file' ? parseNote(file.bytes.toString('utf8')) : undefined
    }
    seen = noticeGrant(seen, note?.grant, clock.monotonic())
    await tick()
    config = await digestOf(inputs, configFolder, folder ?? configFolder)
  }
  const answer = async (generation: string) => {
    try {
      await reread()
      return permitByGrant(generation, seen, closed, clock.monotonic())
    } catch (thrown) {
      return {
        allowed: false,
        reason: `cannot tell whether the fleet grants it: ${asAgentError(thrown).message}`,
      } as const
    }
  }
  return {
    reread,
    tick,
    note: () => note,
    config: () => config,
    report: () => reportGrant(seen, closed),
    check: async (generation) => {
      const permit = await answer(generation)
      return permit.allowed ? undefined : permit.reason
    },
    async take(generation) {
      const permit = await answer(generation)
      if (!permit.allowed) return permit.reason
      const { id } = permit.grant
      try {
        await close({ id, generation, phase: 'used', ok: false })
      } catch (thrown) {
        return `grant ${id} cannot be recorded as used: ${asAgentError(thrown).message}`
      }
      log.info('grant-used', { grant: id, generation })
      return undefined
    },
    async ended({ isUnderWay, generation, ok }) {
      const used = closed.find(({ phase }) => phase === 'used')
      if (used === undefined || isUnderWay) return
      await close({ ...used, phase: 'done', ok: ok && used.generation === generation })
    },
  }
}

/**
 * The names are the ConfigMap's own; the bytes are those that the agent reads, a Secret's files beside them are left
 * out.
 */
async function digestOf(inputs: InputFiles, configFolder: string, namesFolder: string): Promise<string> {
  const entries: { readonly name: string; readonly bytes: Uint8Array }[] = []
  for (const name of await inputs.list(namesFolder)) {
    const file = await inputs.read(posix.join(configFolder, name), { maxBytes: MAX_FILE_BYTES })
    if (file.kind === 'file') entries.push({ name, bytes: file.bytes })
  }
  return configDigest(entries)
}
