// Brings a restart that somebody began to its end: by waiting for its driver, or by driving it where it has none.
import type { RestartDriver, RestartRecord } from '../model/restart.ts'
import { type Driven, Machine } from './driver.ts'
import { isOver } from './machine.ts'
import { type MachinePorts, TakenOver } from './own-record.ts'

const POLL_MS = 200

/** True where it has no driver: nothing that its driver said of this boot still holds. */
export async function isAbandoned(
  record: RestartRecord,
  { clock, restarts }: Pick<MachinePorts, 'clock' | 'restarts'>,
): Promise<boolean> {
  if (record.bootId === restarts.bootId && clock.monotonic() <= record.leaseUntil) return false
  const lease = await restarts.leaseOf(record.driver)
  if (lease === undefined || lease.id !== record.id || lease.bootId !== restarts.bootId) return true
  return clock.monotonic() > lease.leaseUntil
}

/**
 * Returns how it ended; undefined: nothing was begun. `isMine`: a record of this kind of driver is of an earlier life
 * of it, until another one turns out to be alive. Impatient, a way back on which containerd does not start is an end
 * too ("stuck").
 */
export async function settle(
  ports: MachinePorts,
  driver: RestartDriver,
  { isMine, isPatient, signal }: { isMine: boolean; isPatient: boolean; signal?: AbortSignal | undefined },
): Promise<RestartRecord | undefined> {
  for (let isEarlier = isMine; ; ) {
    signal?.throwIfAborted()
    const record = await ports.restarts.read()
    if (record === undefined || isOver(record)) return record
    if ((await isAbandoned(record, ports)) || (isEarlier && record.driver === driver)) {
      const driven = await goOn(record, ports, driver, isPatient)
      // Taken over from this one: two that take it from each other would come to no end.
      if (driven === undefined) isEarlier = false
      if (driven !== undefined && driven.end !== 'ready') return driven.record
    } else if (record.stuck !== undefined && !isPatient) return record
    await ports.clock.sleep(POLL_MS)
  }
}

async function goOn(
  record: RestartRecord,
  ports: MachinePorts,
  driver: RestartDriver,
  isPatient: boolean,
): Promise<Driven | undefined> {
  const machine = await Machine.takeOver(ports, driver, record)
  if (machine === undefined) return undefined
  try {
    return await machine.drive({ commits: true, isPatient })
  } catch (thrown) {
    if (thrown instanceof TakenOver) return undefined
    throw thrown
  } finally {
    machine.leave()
  }
}
