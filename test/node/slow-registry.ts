// A registry beside a node whose one image takes as long to pull as a test needs.
import { join } from 'node:path'
import type { Certificate } from './certificates.ts'
import type { FixtureNode } from './fixture-node.ts'
import type { Service } from './namespaces.ts'

export type Slowness = {
  readonly layerBytes: number
  readonly chunkBytes: number
  /** Between two chunks of the layer. */
  readonly pauseMs: number
}

/** What slow-registry-server.ts is told. */
export type SlowPlan = Slowness & {
  readonly address: string
  readonly port: number
  readonly certFile: string
  readonly keyFile: string
}

export type SlowRegistry = { readonly reference: string; readonly service: Service }

export async function startSlowRegistry(
  node: FixtureNode,
  options: Slowness & { readonly host: string; readonly certificate: Certificate },
): Promise<SlowRegistry> {
  const { host, certificate, ...slowness } = options
  const address = await node.newAddress()
  await node.setHost(host, address)
  const plan: SlowPlan = {
    ...slowness,
    address,
    port: 443,
    certFile: certificate.chainFile,
    keyFile: certificate.keyFile,
  }
  const argv = [process.execPath, join(import.meta.dirname, 'slow-registry-server.ts'), JSON.stringify(plan)]
  const service = await node.start(argv, { place: 'neighbour' })
  await service.waitFor(/^listening$/m)
  return { reference: `${host}/slow/image:1`, service }
}
