// A long answer in pieces: between two of them other work gets its turn, so that a page of a thousand registries holds
// up no probe.
import { Readable } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'

const MOST_MS = 8
const CHUNK = 64 * 1024

/** The parts joined, as a stream; each is made when its turn comes. */
export function inSlices(parts: Iterable<string>): Readable {
  return Readable.from(slices(parts), { objectMode: false })
}

async function* slices(parts: Iterable<string>): AsyncGenerator<Buffer> {
  let [chunk, started] = ['', performance.now()]
  for (const part of parts) {
    chunk += part
    const isLong = performance.now() - started > MOST_MS
    if (chunk.length < CHUNK && !isLong) continue
    yield Buffer.from(chunk)
    chunk = ''
    if (!isLong) continue
    await turn()
    started = performance.now()
  }
  if (chunk !== '') yield Buffer.from(chunk)
}
