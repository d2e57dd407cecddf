// Starts sni-server.ts beside a node.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { FixtureNode } from '../node/fixture-node.ts'
import type { FixedAnswer } from '../node/tls-servers.ts'

/** `chain` and `key` are PEM; the chain is sent as it stands. */
export type SniHost = {
  readonly name: string
  readonly chain: string
  readonly key: string
  readonly answer?: FixedAnswer
}

export type SniPlan = { readonly address: string; readonly port: number; readonly hosts: readonly SniHost[] }

/** All names lead to one new address; clients without SNI see the chain of the first. */
export async function startSniServer(node: FixtureNode, hosts: readonly SniHost[]): Promise<void> {
  const address = await node.newAddress()
  for (const { name } of hosts) await node.setHost(name, address)
  const file = join(node.scratch, `sni-${address}.json`)
  const plan: SniPlan = { address, port: 443, hosts }
  await writeFile(file, JSON.stringify(plan), { mode: 0o600 })
  const argv = [process.execPath, join(import.meta.dirname, 'sni-server.ts'), file]
  const service = await node.start(argv, { place: 'neighbour' })
  await service.waitFor(/^listening$/m)
}
