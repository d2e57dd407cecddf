// `registry-trust cri-proxy`: the sidecar that shows the agent a small part of containerd's CRI. Ends on SIGTERM.
import { posix } from 'node:path'
import { MAX_NOTE_BYTES, NOTE_FILE, parseNote } from '../../config/fleet-note.ts'
import { startCriProxy } from '../../sidecar/cri-proxy.ts'
import { type Declared, declaredBy } from '../../sidecar/declared.ts'
import { serveLifelines } from '../../sidecar/lifelines.ts'
import { DEFAULT_CONTAINERD, DEFAULT_CRI_PROXY, pulseSocketOf } from '../sockets.ts'
import { stopped } from '../stopped.ts'
import type { SidecarWiring, Wiring } from '../wiring.ts'

export type CriProxyWiring = SidecarWiring<'connectCri'> & Pick<Wiring, 'pulse' | 'inputs'>

export async function criProxyCommand(
  { options, ports, log, loadConfig, signal, pulse, inputs }: CriProxyWiring,
  declared: Declared = declaredBy(loadConfig, { clock: ports.clock, log }),
): Promise<number> {
  const containerd = options.containerdAddress ?? DEFAULT_CONTAINERD
  const cri = ports.connectCri(containerd)
  const socket = options.criProxy ?? DEFAULT_CRI_PROXY
  const proxy = await startCriProxy({ socket, cri, declared, awaited: () => awaitedImages(options.fleet, inputs), log })
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

/** What the note of the fleet component names, as the Pod mounts it here. */
async function awaitedImages(folder: string | undefined, inputs: Wiring['inputs']): Promise<readonly string[]> {
  if (folder === undefined) return []
  const file = await inputs.read(posix.join(folder, NOTE_FILE), { maxBytes: MAX_NOTE_BYTES })
  return file.kind === 'file' ? (parseNote(file.bytes.toString('utf8'))?.pull ?? []) : []
}
