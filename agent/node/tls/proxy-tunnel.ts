// Asks an HTTP proxy for a connection to a host and port (CONNECT, RFC 9110 section 9.3.6). What the proxy says is
// bounded and read up to the end of its head; the tunnel begins with the next byte.
import type { Socket } from 'node:net'
import type { TlsProxy } from '../../model/ports.ts'

const MOST_HEAD_BYTES = 16 * 1024

/** Resolves when the tunnel is there; rejects with the proxy's status line, or when it closes the connection. */
export async function openTunnel(
  socket: Socket,
  target: { readonly host: string; readonly port: number },
  { authorization }: Pick<TlsProxy, 'authorization'>,
  signal: AbortSignal,
): Promise<void> {
  const authority = `${target.host.includes(':') ? `[${target.host}]` : target.host}:${target.port}`
  const login = authorization === undefined ? '' : `Proxy-Authorization: ${authorization.reveal()}\r\n`
  socket.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\nUser-Agent: registry-trust\r\n${login}\r\n`)
  const head = await readHead(socket, signal)
  const [, status = '', reason = ''] = /^HTTP\/1\.[01] (\d{3}) ?([^\r\n]*)/.exec(head) ?? []
  if (!status.startsWith('2'))
    throw new Error(status === '' ? 'it is not an HTTP proxy' : `it answers ${status} ${reason}`.trim())
}

async function readHead(socket: Socket, signal: AbortSignal): Promise<string> {
  const chunks: Buffer[] = []
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const read = (chunk: Buffer) => {
    chunks.push(chunk)
    const bytes = Buffer.concat(chunks)
    const end = bytes.indexOf('\r\n\r\n')
    if (end < 0 && bytes.length < MOST_HEAD_BYTES) return
    if (end >= 0 && bytes.length > end + 4) socket.unshift(bytes.subarray(end + 4))
    resolve(bytes.subarray(0, end < 0 ? MOST_HEAD_BYTES : end).toString('latin1'))
  }
  const closed = () => reject(new Error('it closed the connection'))
  const failed = (error: Error) => reject(error)
  const aborted = () => reject(signal.reason instanceof Error ? signal.reason : new Error('aborted'))
  socket.on('data', read).once('end', closed).once('error', failed)
  if (signal.aborted) aborted()
  signal.addEventListener('abort', aborted, { once: true })
  try {
    return await promise
  } finally {
    socket.pause()
    socket.off('data', read).off('end', closed).off('error', failed)
    signal.removeEventListener('abort', aborted)
  }
}
