// Checks what is read back of the machine's records and of the ledger: a record decides which file goes back and which
// unit is started.
import type { RestartDriver, RestartEntry, RestartLease, RestartRecord } from '../../model/restart.ts'

const PHASES = ['armed', 'written', 'restarting', 'verifying', 'committed', 'reverting', 'reverted']
export const DRIVERS = ['agent', 'restarter'] as const satisfies readonly RestartDriver[]
const MOMENTS = ['commandedAt', 'putBackAt', 'runningAt']
/** Far above any lease that is given. */
const LONGEST_LEASE_MS = 60_000

export function isRestartRecord(value: unknown): value is RestartRecord {
  if (!isObject(value)) return false
  const { daemon, runtime, starts } = value
  return (
    value['version'] === 1 &&
    areTexts(value, ['id', 'bootId', 'at', 'reason']) &&
    areNumbers(value, ['sequence', 'leaseUntil']) &&
    isOneOf(value['phase'], PHASES) &&
    isOneOf(value['driver'], DRIVERS) &&
    isPath(value['socket']) &&
    isPath(value['configFile']) &&
    isHash(value['before']) &&
    isHash(value['after']) &&
    (value['unit'] === undefined || typeof value['unit'] === 'string') &&
    MOMENTS.every((key) => value[key] === undefined || isNumber(value[key])) &&
    ['failure', 'stuck'].every((key) => value[key] === undefined || isFailure(value[key])) &&
    (value['merged'] === undefined || isHash(value['merged'])) &&
    (value['others'] === undefined || areAll(value['others'], (one) => typeof one === 'string')) &&
    isDaemon(daemon) &&
    isObject(starts) &&
    areNumbers(starts, ['forward', 'back']) &&
    isObject(runtime) &&
    areAll(runtime['containers'], (one) => isObject(one) && areTexts(one, ['id', 'state', 'startedAt']))
  )
}

/**
 * False: no driver has written this under this number at this moment. Within one boot nothing has happened in the
 * future, and with a lease that never ends no driver would take the restart over.
 */
export function isPossibleRecord(
  record: RestartRecord,
  { number, now, bootId }: { readonly number: number; readonly now: number; readonly bootId: string },
): boolean {
  if (record.sequence !== number) return false
  if (record.bootId !== bootId) return true
  const { commandedAt = 0, putBackAt = 0, runningAt = 0, leaseUntil } = record
  return leaseUntil <= now + LONGEST_LEASE_MS && Math.max(commandedAt, putBackAt, runningAt) <= now
}

/** False also for one that no driver gives at this moment. */
export function isPossibleLease(value: unknown, now: number): value is RestartLease {
  if (!isObject(value) || !areTexts(value, ['id', 'bootId'])) return false
  return isNumber(value['leaseUntil']) && Number(value['leaseUntil']) <= now + LONGEST_LEASE_MS
}

function isDaemon(value: unknown): boolean {
  if (!isObject(value) || !isNumber(value['pid'])) return false
  const { beganAt, command } = value
  const isCommand = (given: unknown) =>
    isObject(given) && areTexts(given, ['executable']) && areAll(given['argv'], (word) => typeof word === 'string')
  return (beganAt === undefined || isNumber(beganAt)) && (command === undefined || isCommand(command))
}

function isFailure(value: unknown): boolean {
  return isObject(value) && areTexts(value, ['code', 'message'])
}

function areAll(value: unknown, check: (one: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(check)
}

export function isRestartEntry(value: unknown): value is RestartEntry {
  return (
    isObject(value) &&
    areTexts(value, ['id', 'at', 'bootId', 'reason']) &&
    Number.isFinite(Date.parse(String(value['at']))) &&
    isNumber(value['uptimeMs']) &&
    isOneOf(value['kind'], ['forward', 'back']) &&
    isOneOf(value['by'], DRIVERS)
  )
}

type Fields = { readonly [key: string]: unknown }

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isNumber(value: unknown): boolean {
  return typeof value === 'number' && Number.isFinite(value)
}

function isPath(value: unknown): boolean {
  return typeof value === 'string' && value.startsWith('/') && !value.split('/').includes('..')
}

function isHash(value: unknown): boolean {
  return value === null || (typeof value === 'string' && /^[0-9a-f]{64}$/.test(value))
}

function isOneOf(value: unknown, words: readonly string[]): boolean {
  return typeof value === 'string' && words.includes(value)
}

function areTexts(value: Fields, keys: readonly string[]): boolean {
  return keys.every((key) => typeof value[key] === 'string')
}

function areNumbers(value: Fields, keys: readonly string[]): boolean {
  return keys.every((key) => isNumber(value[key]))
}
