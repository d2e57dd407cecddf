// Where a sidecar listens: a unix socket that only its own user may open, also in the moment in which it appears.
import { rmSync } from 'node:fs'

const PRIVATE = 0o177

/** Removes what an earlier run left there, then binds with an umask that allows nobody else. */
export async function listenPrivately(socket: string, bind: () => Promise<void>): Promise<void> {
  rmSync(socket, { force: true })
  const before = process.umask(PRIVATE)
  try {
    await bind()
  } finally {
    process.umask(before)
  }
}
