// The CA changes in the ConfigMap while the registry already presents its new chain: from the kubelet's rename to a
// pull that works.
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { createAuthority, issueServer } from '../../test/fixtures/node/certificates.ts'
import type { Generation } from '../../test/fixtures/node/generations.ts'
import { startRegistry } from '../../test/fixtures/node/registry.ts'
import { RIVALS } from './rivals.ts'
import { HOST, Subject } from './subject.ts'
import { type Row, series } from './table.ts'

const TRUST = { registries: [{ host: HOST, ca: 'ca.pem' }] }

export async function measureRotation(generation: Generation, bundle: string, runs: number): Promise<readonly Row[]> {
  const subject = await Subject.start(generation, 'set', bundle)
  try {
    await subject.publish(TRUST, subject.authority.pem)
    await subject.startDaemon()
    await subject.untilPullWorks(performance.now())
    const { node } = subject
    const { address } = subject.registry
    let running = subject.registry
    const times: number[] = []
    for (let run = 0; run < runs; run++) {
      const folder = join(node.scratch, `pki-rotation-${run}`)
      await mkdir(folder)
      const next = await createAuthority(folder, `Next Root ${run}`)
      const certificate = await issueServer(next, folder, [HOST])
      // The run that made the last pull work proves it too: the registry changes after that.
      await subject.until(async () => (await subject.state()) === 'converged', performance.now(), 20)
      await running.stop()
      running = await startRegistry(node, { host: HOST, address, certificate })
      if ((await node.pull(running.reference())).ok) throw new Error('the pull works before the CA was rotated')
      const since = performance.now()
      await subject.publish(TRUST, next.pem)
      times.push(await subject.untilPullWorks(since))
    }
    return [
      series({
        id: 'rotation',
        what: 'CA rotated in the ConfigMap → pull works',
        on: generation.version,
        values: times,
        target: '200 ms',
        rivals: RIVALS.rotation,
      }),
    ]
  } finally {
    await subject.dispose()
  }
}
