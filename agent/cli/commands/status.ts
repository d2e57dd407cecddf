// `registry-trust status`: asks the running agent on this node.
import { fetchStatus } from '../../http/client.ts'
import { verdictOf } from '../../model/verdict.ts'
import { formatStatus } from '../output/status.ts'
import type { Wiring } from '../wiring.ts'

export async function statusCommand({ options, paint, print, ports, signal }: Wiring): Promise<number> {
  const status = await fetchStatus({ address: options.listen, signal })
  print(options.json ? `${JSON.stringify(status, null, 2)}\n` : formatStatus(status, { paint, now: ports.clock.now() }))
  return verdictOf(status).exitCode
}
