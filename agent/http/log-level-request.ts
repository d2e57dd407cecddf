// What POST /loglevel asks for: `?level=debug&for=10m`. A word that is not understood is an error that names those that
// are.

import { checkDuration } from '../config/declarations/settings.ts'
import { parseDuration } from '../config/schema/duration.ts'
import { AgentError } from '../model/errors.ts'
import { LOG_LEVELS, type LogLevel } from '../model/log-level.ts'

export type LogLevelRequest = { readonly level: LogLevel; readonly forMs: number }

/** Long enough to see something happen twice, short enough to be forgotten. */
export const DEFAULT_FOR = '10m'

/** Throws AgentError REQUEST_INVALID. */
export function parseLogLevelRequest(query: { readonly [name: string]: unknown }): LogLevelRequest {
  const { level, for: time = DEFAULT_FOR, ...unknown } = query
  const [other] = Object.keys(unknown)
  if (other !== undefined)
    throw invalid(`there is no parameter "${other.slice(0, 50)}"; the parameters are: level, for`)
  const found = LOG_LEVELS.find((one) => one === level)
  if (found === undefined) throw invalid(`level must be one of ${LOG_LEVELS.join(', ')}: /loglevel?level=debug&for=10m`)
  const forMs = typeof time === 'string' ? parseDuration(time) : undefined
  if (forMs === undefined || typeof time !== 'string') throw invalid('for must be a duration such as 30s, 10m or 1h30m')
  const problem = checkDuration(time)
  if (problem !== undefined) throw invalid(`for ${problem}`)
  return { level: found, forMs }
}

function invalid(message: string): AgentError {
  return new AgentError('REQUEST_INVALID', message)
}
