// `registry-trust cri-proxy`: the sidecar that shows the agent a small part of containerd's CRI. Ends on SIGTERM.
import { startCriProxy } from '../../sidecar/cri-proxy.ts'
import { type Declared, declaredBy } from '../../sidecar/declared.ts'
import { serveLifelines } from '../../sidecar/lifelines.ts'
import { DEFAULT_CONTAINERD, DEFAULT_CRI_PROXY, pulseSocketOf } from '../sockets.ts'
import { stopped } from '../stopped.ts'
import type { SidecarWiring, Wiring } from '../wiring.ts'

export type CriProxyWiring = SidecarWiring<'connectCri'> & Pick<Wiring, 'pulse'>

export async function criProxyCommand(
  { options, ports, log, loadConfig, signal, pulse }: CriProxyWiring,
  declared: Declared = declaredBy(loadConfig, { clock: ports.clock, log }),
): Promise<number> {
  const containerd = options.containerdAddress ?? DEFAULT_CONTAINERD
  const cri = ports.connectCri(containerd)
  const socket = options.criProxy ?? DEFAULT_CRI_PROXY
  const proxy = await startCriProxy({ socket, cri, declared, log })
  const lifelines = await serveLifelines({
    socket: pulseSocketOf(socket),
    pulse: (onLost) => pulse(containerd, onLost),
  })
  await stopped(signal)
  lifelines.close()
  await proxy.close()
  cri.close()
  return 0
}
