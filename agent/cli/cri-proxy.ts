// `registry-trust cri-proxy`: the sidecar that shows the agent a small part of containerd's CRI. Ends on SIGTERM.
import { declaredBy } from '../sidecar/declared.ts'
import { startCriProxy } from '../sidecar/cri-proxy.ts'
import { DEFAULT_CRI_PROXY, DEFAULT_CONTAINERD } from './sockets.ts'
import { stopped } from './stopped.ts'
import type { Wiring } from './wiring.ts'

export async function criProxyCommand({ options, ports, log, loadConfig, signal }: Wiring): Promise<number> {
  const cri = ports.connectCri(options.containerdAddress ?? DEFAULT_CONTAINERD)
  const declared = declaredBy(loadConfig, { clock: ports.clock, log })
  const proxy = await startCriProxy({ socket: options.criProxy ?? DEFAULT_CRI_PROXY, cri, declared, log })
  await stopped(signal)
  await proxy.close()
  cri.close()
  return 0
}
