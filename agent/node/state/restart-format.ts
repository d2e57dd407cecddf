// Checks what is read back of the machine's records and of the ledger: a record decides which file goes back and which
// unit is started.
import type { RestartEntry, RestartRecord } from '../../model/restart.ts'

const PHASES = ['armed', 'written', 'restarting', 'verifying', 'committed', 'reverting', 'reverted']
const DRIVERS = ['agent', 'restarter']

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
    ['commandedAt', 'putBackAt', 'runningAt'].every((key) => value[key] === undefined || isNumber(value[key])) &&
    isObject(daemon) &&
    isNumber(daemon['pid']) &&
    isObject(starts) &&
    areNumbers(starts, ['forward', 'back']) &&
    isObject(runtime) &&
    Array.isArray(runtime['containers'])
  )
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
