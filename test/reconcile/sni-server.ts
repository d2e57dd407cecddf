// Run as a program beside a node: one TLS server that shows each name its own chain and gives it its own fixed answer. Many servers for the
// price of one process. Argument: a JSON file (see sni-servers.ts). Prints "listening".
import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'
import { createSecureContext, type SecureContext } from 'node:tls'
import type { SniPlan } from './sni-servers.ts'

const { address, port, hosts } = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as SniPlan
const byName = new Map(hosts.map((host) => [host.name, host]))
/** Weak certificates must be shown too. */
const ciphers = 'DEFAULT@SECLEVEL=0'
const contexts = new Map<string, SecureContext>()
const [first] = hosts
if (first === undefined) throw new Error('no hosts')

function contextOf(name: string): SecureContext | undefined {
  const host = byName.get(name)
  const known = contexts.get(name)
  if (host === undefined || known !== undefined) return known
  const made = createSecureContext({ cert: host.chain, key: host.key, ciphers })
  contexts.set(name, made)
  return made
}

const server = createServer(
  {
    cert: first.chain,
    key: first.key,
    ciphers,
    SNICallback: (name, done) => {
      try {
        done(null, contextOf(name))
      } catch (error) {
        console.error(`${name}: ${error instanceof Error ? error.message : String(error)}`)
        done(error instanceof Error ? error : new Error(String(error)))
      }
    },
  },
  (request, response) => {
    const { status, headers = {}, body = '' } = byName.get(request.headers.host ?? '')?.answer ?? { status: 404 }
    response.writeHead(status ?? 200, headers)
    response.end(request.method === 'HEAD' ? undefined : body)
  },
)
// A client that does not trust us breaks off: that is what it is for.
server.on('tlsClientError', () => undefined)
server.listen(port, address, () => console.log('listening'))
