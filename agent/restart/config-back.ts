// The way back of config.toml: the original by one rename, or the original with what others wrote since. What others
// made of it gets a name of its own in any case.
import { posix } from 'node:path'
import { AgentError, asAgentError } from '../model/errors.ts'
import type { FileState } from '../model/ports.ts'
import { configOf, hashOf, isOthers } from './config-evidence.ts'
import { type MachinePorts, type OwnRecord, TakenOver } from './own-record.ts'
import { withoutOurs } from './without-ours.ts'

const MOST_KEPT = 5
const PUT_BACK_PAUSE_MS = 1_000

export class ConfigBack {
  readonly #ports: MachinePorts
  readonly #own: OwnRecord

  constructor(ports: MachinePorts, own: OwnRecord) {
    this.#ports = ports
    this.#own = own
  }

  /**
   * `whole`: as it was, also where others have written since. Where it cannot be put back the record says why, and it
   * is to be tried again. Throws TakenOver.
   */
  async putBack(whole: boolean): Promise<void> {
    const { clock, restarts, files, log } = this.#ports
    const { configFile, before, merged } = this.#own.now
    try {
      const now = await files.readFollowing(configFile)
      if (!whole) await this.#keepOthers(now)
      const isEdited = !whole && configOf(now, this.#own.now) === 'other'
      if (isEdited && now.kind === 'file' && (await this.#putMerged(now))) return
      const isBack =
        before === null ? await restarts.remove(configFile).then(() => true) : await restarts.putBack(configFile)
      if (!isBack)
        throw new AgentError('ROLLBACK_INCOMPLETE', `the original of ${configFile} is not beside it any more`)
      log.warn('config-put-back', { path: configFile, by: this.#own.driver, reason: this.#own.now.failure?.message })
      await this.#own.audit({ event: 'put-back', path: configFile, beforeSha256: hashOf(now), afterSha256: before })
      await this.#own.change({ putBackAt: clock.monotonic(), ...(merged !== undefined && { commandedAt: 0 }) })
    } catch (thrown) {
      if (thrown instanceof TakenOver) throw thrown
      const { code, message } = asAgentError(thrown)
      if (this.#own.now.stuck === undefined) {
        log.error('put-back-failed', { path: configFile, code, error: message })
        await this.#own.change({ stuck: { code, message } })
      }
      await clock.sleep(PUT_BACK_PAUSE_MS)
    }
  }

  /** What others made of config.toml since it was written gets a name beside it, and is reported with the outcome. */
  async #keepOthers(now: FileState): Promise<void> {
    const { restarts, files, log } = this.#ports
    const { configFile, others = [] } = this.#own.now
    // Where going back fails it is tried every second: theirs is kept, and so is what they do next.
    if (others.length >= MOST_KEPT) return
    await this.#own.quietly(async () => {
      const [{ before }, itself] = await Promise.all([restarts.versions(configFile), files.read(configFile)])
      const isLinked = itself.kind === 'link' && before.kind === 'file'
      if (!isLinked && !isOthers(now, before, this.#own.now)) return
      if (itself.kind === 'absent') {
        log.warn('others-edit-kept', { path: configFile, removed: true })
        await this.#own.change({ others: [...others, `${configFile} had been removed by others; it was put back`] })
        return
      }
      const aside = await restarts.setAside(configFile)
      log.warn('others-edit-kept', { path: configFile, keptAs: aside })
      await this.#own.audit({ event: 'set-aside', path: configFile, keptAs: aside })
      const what = itself.kind === 'file' ? 'changed' : 'replaced'
      await this.#own.change({
        others: [...others, `${configFile} had been ${what} by others; theirs is kept as ${aside}`],
      })
    })
  }

  /** The original with what others wrote since. False: it cannot be told apart, or it cannot be written. */
  async #putMerged(theirs: Extract<FileState, { kind: 'file' }>): Promise<boolean> {
    const { clock, restarts, files, log } = this.#ports
    const { configFile } = this.#own.now
    try {
      const { before, after } = await restarts.versions(configFile)
      if (before.kind !== 'file' || after === undefined) return false
      const text = withoutOurs({
        before: before.bytes.toString('utf8'),
        after: after.toString('utf8'),
        now: theirs.bytes.toString('utf8'),
      })
      if (text === undefined) return false
      const merged = { ...theirs, bytes: Buffer.from(text) }
      await this.#own.change({ merged: hashOf(merged) ?? '' })
      const ifAttributesLost = (reason: string) => log.warn('attributes-lost', { path: configFile, reason })
      await files.put(configFile, merged, { folder: posix.dirname(configFile), ifAttributesLost })
      await this.#own.audit({
        event: 'put-back',
        path: configFile,
        beforeSha256: hashOf(theirs),
        afterSha256: hashOf(merged),
      })
      await this.#own.change({ putBackAt: clock.monotonic() })
      return true
    } catch (thrown) {
      if (thrown instanceof TakenOver) throw thrown
      log.warn('not-merged', { path: configFile, error: asAgentError(thrown).message })
      return false
    }
  }
}
