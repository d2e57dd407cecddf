// Lines over a stream socket, for both ends of the restarter's protocol. The rules: an error of a socket ends that
// socket and nothing else; a line has a bound; who is asked answers one line at a time and reads no further meanwhile,
// so that a peer that floods fills the kernel's buffer and not the heap. (node:readline emits its input's errors again
// on an object that nobody listens to, which ends the process.)
import type { Socket } from 'node:net'

const NEWLINE = 0x0a

export type LineHandler = {
  /** The next line is read when this one is answered for. Never rejects. */
  onLine(line: string): Promise<void>
  /** The longest line in bytes; a longer one ends the connection. */
  readonly maxBytes: number
  /** A peer that says nothing for this long, while nothing is answered, is disconnected; absent: never. */
  readonly idleMs?: number
}

/** Reads until the socket ends. A caller that has to know when listens to the socket's `close`. */
export function readLines(socket: Socket, { onLine, maxBytes, idleMs }: LineHandler): void {
  let received: Buffer = Buffer.alloc(0)
  let isBusy = false
  ignoreErrors(socket)
  if (idleMs !== undefined) socket.setTimeout(idleMs, () => isBusy || socket.destroy())
  const next = async () => {
    if (isBusy) return
    for (let at = received.indexOf(NEWLINE); at >= 0 && !socket.destroyed; at = received.indexOf(NEWLINE)) {
      const line = received.toString('utf8', 0, at).replace(/\r$/, '')
      received = received.subarray(at + 1)
      isBusy = true
      socket.pause()
      await onLine(line)
      isBusy = false
    }
    if (received.length > maxBytes) socket.destroy()
    else socket.resume()
  }
  socket.on('data', (chunk) => {
    received = Buffer.concat([received, chunk])
    void next()
  })
}

/** Resolves when the kernel has taken the line, or when the peer is gone. */
export function writeLine(socket: Socket, value: object): Promise<void> {
  if (socket.destroyed) return Promise.resolve()
  const { promise, resolve } = Promise.withResolvers<void>()
  socket.once('close', resolve)
  socket.write(`${JSON.stringify(value)}\n`, () => resolve())
  return promise.finally(() => socket.off('close', resolve))
}

/**
 * For the whole life of a socket: a peer that is killed with an answer unread resets it, and an error without a
 * listener ends the process.
 */
export function ignoreErrors(socket: Socket): void {
  socket.on('error', () => undefined)
}
