// The cri-proxy's callers wait here for the end of containerd: a connection on which nothing is said, and which ends
// when the proxy has lost containerd. So the question that goes to containerd all the time is asked once, by the
// process that sees its socket, and costs the agent nothing.
import { createServer, type Socket } from 'node:net'
import { ignoreErrors } from '../node/systemd/line-socket.ts'
import { listen, listenPrivately } from './unix-socket.ts'

const MOST_CONNECTIONS = 8

export type LifelinesOptions = {
  /** Where the callers connect. */
  readonly socket: string
  /** Follows containerd, and calls back once when it is lost. */
  readonly pulse: (onLost: (reason: string) => void) => { close(): void }
}

/** containerd is followed only while somebody waits. Throws AgentError LISTEN_FAILED. */
export async function serveLifelines({ socket, pulse }: LifelinesOptions): Promise<{ close(): void }> {
  const waiting = new Set<Socket>()
  let following: { close(): void } | undefined
  const end = () => {
    following?.close()
    following = undefined
    for (const connection of waiting) connection.destroy()
  }
  const listener = createServer((connection) => {
    ignoreErrors(connection)
    // What is said is read and means nothing.
    connection.resume()
    waiting.add(connection)
    following ??= pulse(end)
    connection.on('close', () => {
      waiting.delete(connection)
      if (waiting.size > 0) return
      following?.close()
      following = undefined
    })
  })
  listener.maxConnections = MOST_CONNECTIONS
  await listenPrivately(socket, () => listen(listener, socket))
  return {
    close() {
      listener.close()
      end()
    },
  }
}
