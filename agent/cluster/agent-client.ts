// Asks an agent over its Pod's address (port AgentClient). Every answer is bounded in time and size: the node may be
// anybody's.
import { get } from 'node:http'
import type { AgentClient } from '../model/fleet-cluster.ts'

const TIMEOUT_MS = 5_000
const MAX_BYTES = 64 * 1024

export function agentClient(): AgentClient {
  return {
    ask: ({ ip, port }, tag) =>
      new Promise((resolve, reject) => {
        const headers = { accept: 'application/json', ...(tag === undefined ? {} : { 'if-none-match': tag }) }
        const options = {
          host: ip,
          port,
          path: '/status/summary',
          headers,
          agent: false,
          signal: AbortSignal.timeout(TIMEOUT_MS),
        }
        const request = get(options, (response) => {
          const chunks: Buffer[] = []
          let length = 0
          response.on('error', reject)
          response.on('data', (chunk: Buffer) => {
            length += chunk.length
            if (length > MAX_BYTES) request.destroy(new Error(`the answer is longer than ${MAX_BYTES} bytes`))
            else chunks.push(chunk)
          })
          response.on('end', () => {
            if (response.statusCode === 304) resolve({ kind: 'unchanged' })
            else if (response.statusCode === 200)
              resolve({ kind: 'summary', text: Buffer.concat(chunks).toString('utf8'), tag: response.headers.etag })
            else reject(new Error(`it answers with HTTP ${response.statusCode}`))
          })
        })
        request.on('error', (error) =>
          reject(error.name === 'TimeoutError' ? new Error(`no answer within ${TIMEOUT_MS / 1000} s`) : error),
        )
      }),
  }
}
