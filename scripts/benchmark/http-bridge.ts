// A unix socket that leads to a TCP port of the network it runs in: the benchmark stands outside the node's network and
// must not start a program for each question. usage: http-bridge.ts SOCKET PORT
import { connect, createServer } from 'node:net'

const [socket = '', port = ''] = process.argv.slice(2)

createServer((client) => {
  const server = connect({ port: Number(port), host: '127.0.0.1' })
  // A port where nobody listens yet is an answer too: the caller's connection ends.
  for (const [one, other] of [
    [client, server],
    [server, client],
  ] as const) {
    one.on('error', () => other.destroy())
    one.pipe(other)
  }
}).listen(socket, () => console.log('listening'))
