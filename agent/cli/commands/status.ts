// `registry-trust status`: asks the running agent on this node.
import { fetchStatus } from '../../http/client.ts'
import type { NodeStatus } from '../../model/status.ts'
import { formatStatus } from '../output/status.ts'
import type { Wiring } from '../wiring.ts'

export async function statusCommand({ options, paint, print, ports, signal }: Wiring): Promise<number> {
  const status = await fetchStatus({ address: options.listen, signal })
  print(options.json ? `${JSON.stringify(status, null, 2)}\n` : formatStatus(status, { paint, now: ports.clock.now() }))
  return isHealthy(status) ? 0 : 3
}

/** Everything declared is in place and trusted, and nothing waits for a person. */
export function isHealthy({ state, registries, problems }: NodeStatus): boolean {
  const isSettled = state === 'converged' || state === 'applying'
  return isSettled && problems.length === 0 && registries.every((registry) => registry.state === 'trusted')
}
