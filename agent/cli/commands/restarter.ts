// `registry-trust restarter`: the sidecar that restarts containerd, and takes back what its holder cannot. Ends on
// SIGTERM.
import type { StateStore } from '../../model/ports.ts'
import type { MachinePorts } from '../../restart/own-record.ts'
import { type Declared, declaredBy } from '../../sidecar/declared.ts'
import { startRestarter } from '../../sidecar/restarter.ts'
import { DEFAULT_RESTARTER } from '../sockets.ts'
import { stopped } from '../stopped.ts'
import type { Wiring } from '../wiring.ts'

export type RestarterWiring = Pick<Wiring, 'options' | 'log' | 'loadConfig' | 'signal' | 'watchRecords'> & {
  readonly ports: Omit<MachinePorts, 'log' | 'audit' | 'processes'> & { readonly store: Pick<StateStore, 'audit'> }
}

export async function restarterCommand(
  { options, ports, log, loadConfig, signal, watchRecords }: RestarterWiring,
  declared: Declared = declaredBy(loadConfig, { clock: ports.clock, log }),
): Promise<number> {
  const { store, clock, ...others } = ports
  const restarter = await startRestarter({
    socket: options.restarterSocket ?? DEFAULT_RESTARTER,
    containerdAddress: options.containerdAddress,
    declared,
    watchRecords,
    ports: { ...others, clock, log, audit: (line) => store.audit(line) },
  })
  await stopped(signal)
  await restarter.close()
  return 0
}
