// `registry-trust cri-proxy`: the sidecar that shows the agent a small part of containerd's CRI. Ends on SIGTERM.
import { startCriProxy } from '../../sidecar/cri-proxy.ts'
import { declaredBy } from '../../sidecar/declared.ts'
import { DEFAULT_CONTAINERD, DEFAULT_CRI_PROXY } from '../sockets.ts'
import { stopped } from '../stopped.ts'
import type { SidecarWiring } from '../wiring.ts'

export async function criProxyCommand({
  options,
  ports,
  log,
  loadConfig,
  signal,
}: SidecarWiring<'connectCri'>): Promise<number> {
  const cri = ports.connectCri(options.containerdAddress ?? DEFAULT_CONTAINERD)
  const declared = declaredBy(loadConfig, { clock: ports.clock, log })
  const proxy = await startCriProxy({ socket: options.criProxy ?? DEFAULT_CRI_PROXY, cri, declared, log })
  await stopped(signal)
  await proxy.close()
  cri.close()
  return 0
}
