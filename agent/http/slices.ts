// A long answer made in pieces: between two of them other work gets its turn, so that a page of a thousand registries
// does not delay a probe.
import { setImmediate as turn } from 'node:timers/promises'

const MOST_MS = 8

/** The parts joined, in UTF-8; each is made when its turn comes. */
export async function joinInSlices(parts: Iterable<string> | AsyncIterable<string>): Promise<Buffer> {
  const chunks: Buffer[] = []
  let [chunk, started] = ['', performance.now()]
  for await (const part of parts) {
    chunk += part
    if (performance.now() - started < MOST_MS) continue
    chunks.push(Buffer.from(chunk))
    chunk = ''
    await turn()
    started = performance.now()
  }
  chunks.push(Buffer.from(chunk))
  return Buffer.concat(chunks)
}
