// Where a sidecar listens: a unix socket that only its own user may open, also in the moment in which it appears.
import { rmSync } from 'node:fs'
import type { Server } from 'node:net'
import { AgentError } from '../model/errors.ts'

const PRIVATE = 0o177

/** Removes what an earlier run left there, then binds with a umask that allows no other user. */
export async function listenPrivately(socket: string, bind: () => Promise<void>): Promise<void> {
  rmSync(socket, { force: true })
  const before = process.umask(PRIVATE)
  try {
    await bind()
  } finally {
    process.umask(before)
  }
}

/** Throws AgentError LISTEN_FAILED. */
export function listen(server: Server, socket: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const failed = (error: Error) =>
    reject(new AgentError('LISTEN_FAILED', `cannot listen on ${socket}: ${error.message}`))
  server.once('error', failed)
  server.listen(socket, resolve)
  // Later errors are those of one accept, e.g. no more file descriptors: the connection is lost, not the process.
  return promise.then(() => {
    server.off('error', failed)
    server.on('error', () => undefined)
  })
}
