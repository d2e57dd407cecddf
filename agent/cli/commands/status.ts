// `registry-trust status`: asks the running agent on this node; with --all the fleet component.
import { fetchStatus } from '../../http/client.ts'
import { AgentError } from '../../model/errors.ts'
import type { NodeStatus } from '../../model/status.ts'
import { verdictOf } from '../../model/verdict.ts'
import { formatStatus } from '../output/status.ts'
import type { Wiring } from '../wiring.ts'

/** The client of the Kubernetes API is loaded only then. */
const askAll = async (wiring: Wiring) => (await import('./fleet.ts')).statusAllCommand(wiring)

export async function statusCommand(wiring: Wiring): Promise<number> {
  const { options, paint, print, ports } = wiring
  if (options.all) return await askAll(wiring)
  const status = await nodeStatus(wiring)
  print(options.json ? `${JSON.stringify(status, null, 2)}\n` : formatStatus(status, { paint, now: ports.clock.now() }))
  return verdictOf(status).exitCode
}

/** What the agent of this node answers. Throws as `fetchStatus` does. */
export async function nodeStatus({ options, inputs, signal }: Wiring): Promise<NodeStatus> {
  const { listen, tlsCertFile } = options
  const certificate = tlsCertFile === undefined ? undefined : await readCertificate(tlsCertFile, inputs)
  return fetchStatus({ address: listen, certificate, signal })
}

async function readCertificate(path: string, inputs: Wiring['inputs']): Promise<string> {
  const file = await inputs.read(path, { maxBytes: 256 * 1024 })
  if (file.kind !== 'file') throw new AgentError('USAGE', `--tls-cert-file names ${path}, which is not a readable file`)
  return file.bytes.toString('utf8')
}
