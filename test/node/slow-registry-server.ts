// Run as a program beside a node (see slow-registry.ts): a registry of one image whose layer comes as slowly as asked for.
// Prints "listening" once it does, "layer" when the layer is asked for and "sent" when the last byte of it has gone.
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import { setTimeout as sleep } from 'node:timers/promises'
import { buildImage } from './image.ts'
import type { SlowPlan } from './slow-registry.ts'

const plan = JSON.parse(process.argv[2] ?? '') as SlowPlan
const noise = { path: 'noise', bytes: randomBytes(plan.layerBytes), mode: 0o644 }
const { manifest, config, layer } = buildImage([noise], ['/noise'])
const blobs = new Map([manifest, config, layer].map((blob) => [blob.digest, blob] as const))

async function trickle(response: ServerResponse, bytes: Buffer): Promise<void> {
  console.log('layer')
  for (let at = 0; at < bytes.length; at += plan.chunkBytes) {
    response.write(bytes.subarray(at, at + plan.chunkBytes))
    await sleep(plan.pauseMs)
  }
  response.end()
  console.log('sent')
}

const server = createServer(
  { cert: readFileSync(plan.certFile), key: readFileSync(plan.keyFile) },
  (request, response) => {
    const name = request.url?.split('/').at(-1) ?? ''
    const found = request.url?.includes('/manifests/') === true ? manifest : blobs.get(name)
    if (found === undefined) {
      response.writeHead(request.url === '/v2/' ? 200 : 404).end()
      return
    }
    const { digest, mediaType, bytes } = found
    response.writeHead(200, {
      'content-type': mediaType,
      'content-length': bytes.length,
      'docker-content-digest': digest,
    })
    if (request.method === 'HEAD') response.end()
    else if (found === layer) void trickle(response, bytes)
    else response.end(bytes)
  },
)
// a client that does not trust us breaks off: that is what it is for
server.on('tlsClientError', () => undefined)
server.listen(plan.port, plan.address, () => console.log('listening'))
