// Who may keep a connection. A newcomer is never turned away: where there are too many, the oldest idle one of the peer
// that has the most makes room. So a flood of connections, from one peer or from many, does not keep a probe of the
// kubelet out.

import type { Server as HttpServer } from 'node:http'
import type { Server as HttpsServer } from 'node:https'
import type { Socket } from 'node:net'

const MOST = 256
const MOST_OF_ONE_PEER = 64

type Held = { readonly socket: Socket; readonly peer: string; requests: number }

/**
 * Watches over the connections of `server`; those with a request under way are left alone as long as there is another
 * one.
 */
export function limitConnections(server: HttpServer | HttpsServer): void {
  // Over TLS a request comes by another object than the connection: both have the same address and port.
  const held = new Map<string, Held>()
  server.on('connection', (socket: Socket) => {
    const key = keyOf(socket)
    const one = { socket, peer: socket.remoteAddress ?? '', requests: 0 }
    held.set(key, one)
    socket.on('error', () => socket.destroy())
    socket.once('close', () => {
      if (held.get(key) === one) held.delete(key)
    })
    makeRoom([...held.values()], one)
  })
  server.on('request', (request, response) => {
    const one = held.get(keyOf(request.socket))
    if (one === undefined) return
    one.requests += 1
    response.once('close', () => {
      one.requests -= 1
    })
  })
}

function keyOf({ remoteAddress, remotePort, localPort }: Socket): string {
  return `${remoteAddress} ${remotePort} ${localPort}`
}

function makeRoom(held: readonly Held[], newcomer: Held): void {
  const ofPeer = held.filter(({ peer }) => peer === newcomer.peer)
  if (ofPeer.length > MOST_OF_ONE_PEER) {
    close(ofPeer, newcomer)
    return
  }
  if (held.length <= MOST) return
  const counts = new Map<string, number>()
  for (const { peer } of held) counts.set(peer, (counts.get(peer) ?? 0) + 1)
  const [most] = [...counts].toSorted(([, left], [, right]) => right - left)
  close(
    held.filter(({ peer }) => peer === most?.[0]),
    newcomer,
  )
}

/** In the order in which they came. */
function close(candidates: readonly Held[], newcomer: Held): void {
  const others = candidates.filter((one) => one !== newcomer)
  const chosen = others.find(({ requests }) => requests === 0) ?? others[0]
  chosen?.socket.destroy()
}
