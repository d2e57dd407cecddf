// Run as a program beside a node (see tls-servers.ts): a server that is wrong in the one way its argument asks for.
// Prints "listening" once it does, then one JSON line for each HTTP request.
import { readFileSync } from 'node:fs'
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { createServer as createTcpServer, type Server, type Socket } from 'node:net'
import type { TlsOptions } from 'node:tls'
import type { FaultPlan } from './tls-servers.ts'

const plan = JSON.parse(process.argv[2] ?? '') as FaultPlan

function answer(request: IncomingMessage, response: ServerResponse): void {
  const { method, url, headers } = request
  const { authorization, ...others } = headers
  console.log(JSON.stringify({ method, url, authorization: authorization !== undefined, headers: others }))
  if (plan.fault === 'silent-http') return
  const { status = 200, headers: fields = {}, body = '' } = plan.answer ?? {}
  response.writeHead(status, fields)
  response.end(method === 'HEAD' ? undefined : body)
}

function tls(): TlsOptions {
  if (plan.certFile === undefined || plan.keyFile === undefined)
    throw new Error(`the fault ${plan.fault} needs a certificate`)
  const options = { cert: readFileSync(plan.certFile), key: readFileSync(plan.keyFile) }
  if (plan.fault === 'old-tls') {
    return { ...options, minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' }
  }
  if (plan.fault === 'client-certificate') {
    return { ...options, requestCert: true, rejectUnauthorized: true, ca: readFileSync(plan.clientCaFile ?? '') }
  }
  return options
}

function server(): Server {
  switch (plan.fault) {
    case 'plain-http':
      return createHttpServer(answer)
    case 'silent':
      // accepts and reads, so that only the answer is missing
      return createTcpServer((socket: Socket) => socket.on('error', () => undefined).resume())
    case 'reset':
      return createTcpServer((socket: Socket) =>
        socket.on('error', () => undefined).once('data', () => socket.resetAndDestroy()),
      )
    case 'answer':
    case 'silent-http':
    case 'old-tls':
    case 'client-certificate':
      return createHttpsServer(tls(), answer)
    default:
      throw new Error(`unknown fault: ${plan.fault satisfies never}`)
  }
}

const listener = server()
// a client that does not trust us breaks off: that is what it is for
listener.on('tlsClientError', () => undefined)
listener.listen(plan.port, plan.address, () => console.log('listening'))
