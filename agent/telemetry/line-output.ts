// Where log lines go: one synchronous write for a line. The rule: a log that cannot be written (its reader is gone, its
// disk is full) costs lines, never the process, and never memory that grows; what was lost is counted and reported as
// soon as lines pass again.
import { writeSync } from 'node:fs'

export type LineWriter = { write(line: string): void }

/**
 * A pipe that somebody made non-blocking is full: its reader gets this long, then the line is lost, and the next ones
 * at once.
 */
const FULL_PAUSE_MS = 10
const FULL_TRIES = 20

export type LineOutputOptions = {
  readonly fd: number
  /** A whole line that says how many were lost. */
  readonly lostLine: (count: number) => string
}

export function lineOutput({ fd, lostLine }: LineOutputOptions): LineWriter {
  let lost = 0
  /** The last line was cut off by an error: what follows must not be glued to it. */
  let isCut = false
  return {
    write(line) {
      const before = Buffer.from(`${isCut ? '\n' : ''}${lost > 0 ? lostLine(lost) : ''}`)
      // In one write: a full pipe often has room for the short line alone.
      const bytes = Buffer.concat([before, Buffer.from(line)])
      const written = writeAll(fd, bytes, lost > 0 ? 0 : FULL_TRIES)
      if (written >= before.length) lost = 0
      if (written > 0) isCut = written < bytes.length && written !== before.length
      if (written < bytes.length) lost += 1
    },
  }
}

/** How many bytes passed. */
function writeAll(fd: number, bytes: Buffer, patience: number): number {
  let written = 0
  let tries = 0
  while (written < bytes.length) {
    try {
      written += writeSync(fd, bytes, written)
      tries = 0
    } catch (error) {
      tries += 1
      const isFull = error instanceof Error && 'code' in error && error.code === 'EAGAIN'
      if (!isFull || tries > patience) return written
      Atomics.wait(SLEEPER, 0, 0, FULL_PAUSE_MS)
    }
  }
  return written
}

const SLEEPER = new Int32Array(new SharedArrayBuffer(4))
