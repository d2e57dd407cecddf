// `registry-trust restarter`: the sidecar that restarts containerd, and takes back what its holder cannot. Ends on SIGTERM.
import { declaredBy } from '../../sidecar/declared.ts'
import { startRestarter } from '../../sidecar/restarter.ts'
import { DEFAULT_RESTARTER } from '../sockets.ts'
import { stopped } from '../stopped.ts'
import type { SidecarWiring } from '../wiring.ts'

export async function restarterCommand({
  options,
  ports,
  log,
  loadConfig,
  signal,
}: SidecarWiring<'files' | 'systemd'>): Promise<number> {
  const { files, systemd, clock } = ports
  const restarter = await startRestarter({
    socket: options.restarterSocket ?? DEFAULT_RESTARTER,
    containerdAddress: options.containerdAddress,
    declared: declaredBy(loadConfig, { clock, log }),
    ports: { files, systemd, clock, log },
  })
  await stopped(signal)
  await restarter.close()
  return 0
}
