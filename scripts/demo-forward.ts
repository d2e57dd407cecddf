// Makes a port inside the demo's network reachable from the machine, so that its browser can open the page. Run inside
// that network: whatever connects to the unix socket is connected to the port. usage: demo-forward.ts SOCKET PORT
import { type AddressInfo, connect, createServer, type Server } from 'node:net'

/** Connections to the server go on to where `to` says; a side that ends or fails ends the other. */
export function forwarding(to: { readonly path: string } | { readonly port: number }): Server {
  return createServer((client) => {
    const target = 'path' in to ? connect(to.path) : connect(to.port, '127.0.0.1')
    client.pipe(target).pipe(client)
    client.on('error', () => target.destroy())
    target.on('error', () => client.destroy())
  })
}

/** On 127.0.0.1 of the machine: the wanted port, or any where that one is taken. Resolves with the port. */
export async function listenOn(server: Server, wanted: number): Promise<number> {
  return await new Promise((resolve, reject) => {
    server.once('listening', () => resolve((server.address() as AddressInfo).port))
    server.once('error', () => server.once('error', reject).listen(0, '127.0.0.1'))
    server.listen(wanted, '127.0.0.1')
  })
}

if (import.meta.main) {
  const [path = '', port = ''] = process.argv.slice(2)
  forwarding({ port: Number(port) }).listen(path, () => console.log('listening'))
}
