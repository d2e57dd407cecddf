// Another program takes the agent's files away while containerd is asked about them. The runtime is a stand-in; files,
// plan, journal and state are real.
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { CriClient } from '../../../agent/model/ports.ts'
import type { RunPorts } from '../../../agent/model/run-ports.ts'
import { applyRun } from '../../../agent/reconcile/run/entry.ts'
import { layOut } from '../../fixtures/scratch/fault-scenes.ts'
import { anchor, desired, makeCa, registry } from '../../fixtures/scratch/sample.ts'
import { CERTS_D, scratchPorts } from '../../fixtures/scratch/scratch-runtime.ts'

const HOST = 'harbor.example.net'
const WANTED = desired({ anchors: [anchor('corp', makeCa('Corp Root'))], registries: [registry(HOST, 'corp')] })
const OPTIONS = { address: undefined, byHand: true, consentUnrehearsed: false }

/** Ports of a containerd that does not tell what it has loaded, as from 2.0 on; `onPull` is called before each pull. */
function portsWith(root: string, onPull: () => { readonly isIgnored: boolean }) {
  const ports = scratchPorts(root)
  const restarts: string[] = []
  const connectCri: RunPorts['connectCri'] = (socket) => {
    const cri = ports.connectCri(socket)
    return {
      ...cri,
      async status(options) {
        const { loadedConfigPath: _, ...untold } = await cri.status(options)
        return untold
      },
      async pullImage(reference, options) {
        const { isIgnored } = onPull()
        if (!isIgnored) return cri.pullImage(reference, options)
        const cause = 'tls: failed to verify certificate: x509: certificate signed by unknown authority'
        const text = `failed to pull and unpack image "${reference}": failed to resolve reference "${reference}": failed to do request: Head "https://${HOST}/v2/": ${cause}`
        return { ok: false, status: 'UNKNOWN', text }
      },
    } satisfies CriClient
  }
  const systemd: RunPorts['systemd'] = {
    ...ports.systemd,
    async restart(...request) {
      restarts.push(request[0])
      return ports.systemd.restart(...request)
    },
  }
  return { ports: { ...ports, connectCri, systemd }, restarts }
}

t.test('a folder that is taken away while containerd pulls costs no restart: the next look puts it back', async (t) => {
  const root = join(t.testdir(), 'node')
  layOut(root)
  await applyRun(WANTED, OPTIONS, scratchPorts(root))
  const folder = join(root, CERTS_D, HOST)
  const { ports, restarts } = portsWith(root, () => {
    rmSync(folder, { recursive: true, force: true })
    return { isIgnored: false }
  })
  const run = await applyRun(WANTED, OPTIONS, ports)
  t.match(run.proofs, [{ host: HOST, finding: { code: 'unknown-authority' } }])
  t.same(restarts, [])
  const next = await applyRun(WANTED, OPTIONS, scratchPorts(root))
  t.match(next, { outcome: 'applied', restarts: [] })
})

t.test('one that is written anew and taken away again in the same run costs none either', async (t) => {
  const root = join(t.testdir(), 'node')
  layOut(root)
  await applyRun(WANTED, OPTIONS, scratchPorts(root))
  const folder = join(root, CERTS_D, HOST)
  rmSync(folder, { recursive: true })
  const { ports, restarts } = portsWith(root, () => {
    rmSync(folder, { recursive: true, force: true })
    return { isIgnored: false }
  })
  await applyRun(WANTED, OPTIONS, ports)
  t.same(restarts, [])
})

t.test('where the files lie as they were written, containerd has not read them, and is restarted', async (t) => {
  const root = join(t.testdir(), 'node')
  layOut(root)
  await applyRun(WANTED, OPTIONS, scratchPorts(root))
  const { ports, restarts } = portsWith(root, () => ({ isIgnored: restarts.length === 0 }))
  await applyRun(WANTED, OPTIONS, ports)
  t.equal(restarts.length, 1)
})
