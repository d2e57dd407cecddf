// `registry-trust status`: asks the running agent on this node.
import { fetchStatus } from '../../http/client.ts'
import { AgentError } from '../../model/errors.ts'
import { verdictOf } from '../../model/verdict.ts'
import { formatStatus } from '../output/status.ts'
import type { Wiring } from '../wiring.ts'

export async function statusCommand({ options, inputs, paint, print, ports, signal }: Wiring): Promise<number> {
  const { listen, tlsCertFile } = options
  const certificate = tlsCertFile === undefined ? undefined : await readCertificate(tlsCertFile, inputs)
  const status = await fetchStatus({ address: listen, certificate, signal })
  print(options.json ? `${JSON.stringify(status, null, 2)}\n` : formatStatus(status, { paint, now: ports.clock.now() }))
  return verdictOf(status).exitCode
}

async function readCertificate(path: string, inputs: Wiring['inputs']): Promise<string> {
  const file = await inputs.read(path, { maxBytes: 256 * 1024 })
  if (file.kind !== 'file') throw new AgentError('USAGE', `--tls-cert-file names ${path}, which is no readable file`)
  return file.bytes.toString('utf8')
}
