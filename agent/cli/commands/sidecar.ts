// `registry-trust sidecar`: cri-proxy and restarter in one process, for the profile that needs both. Each keeps its own
// socket, limits and rules; they share what they read of trust.yaml, and nothing else. Ends on SIGTERM.
import { declaredBy } from '../../sidecar/declared.ts'
import { type CriProxyWiring, criProxyCommand } from './cri-proxy.ts'
import { type RestarterWiring, restarterCommand } from './restarter.ts'

export async function sidecarCommand(
  wiring: Omit<CriProxyWiring & RestarterWiring, 'ports'> & {
    readonly ports: CriProxyWiring['ports'] & RestarterWiring['ports']
  },
): Promise<number> {
  const { loadConfig, log, ports } = wiring
  const declared = declaredBy(loadConfig, { clock: ports.clock, log })
  // One that cannot start ends the process: half a sidecar would not be seen from outside.
  const codes = await Promise.all([criProxyCommand(wiring, declared), restarterCommand(wiring, declared)])
  return Math.max(...codes)
}
