// The agent's log: pino behind the Log port, one JSON or text line for one decision, secrets removed before anything is
// formatted. Lines are written synchronously by this thread: none is lost in a crash, and no worker costs memory.
// This room: what the agent tells machines: log lines and metrics.
// Begin here; then metric-table.ts (all metrics), redact.ts (what never leaves).
// May touch: standard error; no secret passes redact.ts.
import { pino } from 'pino'
import type { LogLevel } from '../model/log-level.ts'
import type { Log, LogFields } from '../model/ports.ts'
import { redactText } from '../model/secret.ts'
import { type LineWriter, lineOutput } from './line-output.ts'
import { redactFields } from './redact.ts'
import { renderTextLine } from './text-line.ts'

const LOG_FORMATS = ['text', 'json'] as const
export type LogFormat = (typeof LOG_FORMATS)[number]

export type LogOptions = {
  readonly level: LogLevel
  readonly format: LogFormat
  /** In every line, e.g. the name of the node. */
  readonly base?: LogFields
  /** Default: standard error, so that standard output stays the command's own. */
  readonly destination?: LineWriter
  readonly now?: () => number
}

export type Logger = Log & {
  readonly level: LogLevel
  setLevel(level: LogLevel): void
  /** The same log with further fields in every line. */
  with(fields: LogFields): Logger
}

export function createLog(options: LogOptions): Logger {
  const now = options.now ?? Date.now
  const destination = options.destination ?? lineOutput({ fd: 2, lostLine: (count) => lostLine(count, options, now()) })
  const sink = options.format === 'json' ? destination : textSink(destination)
  const root = pino(
    {
      level: options.level,
      messageKey: 'msg',
      base: null,
      timestamp: () => `,"time":"${new Date(now()).toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    sink,
  )
  return logger(root, options.base ?? {})
}

type Root = { level: string } & { [level in LogLevel]: (fields: object, event: string) => void } & {
  isLevelEnabled(level: string): boolean
}

function logger(root: Root, base: LogFields): Logger {
  const write = (level: LogLevel, event: string, fields: LogFields): void => {
    // Copying costs; a line that is not written must not.
    if (!root.isLevelEnabled(level)) return
    root[level](redactFields(withoutReserved({ ...base, ...fields })), redactText(event))
  }
  return {
    debug: (event, fields = {}) => write('debug', event, fields),
    info: (event, fields = {}) => write('info', event, fields),
    warn: (event, fields = {}) => write('warn', event, fields),
    error: (event, fields = {}) => write('error', event, fields),
    get level() {
      return root.level as LogLevel
    },
    setLevel(level) {
      root.level = level
    },
    with: (more) => logger(root, { ...base, ...more }),
  }
}

const RESERVED: ReadonlySet<string> = new Set(['time', 'level', 'msg'])

/** pino would write a second key of the same name; parsers disagree on which of the two counts. */
function withoutReserved(fields: LogFields): LogFields {
  if (!Object.keys(fields).some((name) => RESERVED.has(name))) return fields
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [RESERVED.has(name) ? `${name}_` : name, value]),
  )
}

/** Written past the level: it is about lines that passed it. */
function lostLine(count: number, { format, base = {} }: LogOptions, now: number): string {
  const time = new Date(now).toISOString()
  const fields = redactFields(withoutReserved({ ...base, count }))
  if (format === 'text') return renderTextLine({ time, level: 'warn', msg: LINES_LOST, fields })
  return `${JSON.stringify({ level: 'warn', time, ...fields, msg: LINES_LOST })}\n`
}

const LINES_LOST = 'log-lines-lost'

function textSink(destination: LineWriter): LineWriter {
  return {
    write(line) {
      const { time, level, msg, ...fields } = JSON.parse(line) as { [name: string]: unknown }
      destination.write(renderTextLine({ time: String(time), level: String(level), msg: String(msg), fields }))
    },
  }
}
