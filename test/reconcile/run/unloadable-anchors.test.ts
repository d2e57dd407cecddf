// An anchor that passes our own parser and is refused by the node's containerd. A containerd whose Go differs from all
// that we know cannot be had, so the private copy's answer is a stand-in; files, plan, journal and state are real.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { CriClient } from '../../../agent/model/ports.ts'
import type { RunPorts } from '../../../agent/model/run-ports.ts'
import { applyRun } from '../../../agent/reconcile/run/entry.ts'
import { layOut } from '../../fixtures/scratch/fault-scenes.ts'
import { anchor, desired, makeCa, registry } from '../../fixtures/scratch/sample.ts'
import { CERTS_D, scratchPorts } from '../../fixtures/scratch/scratch-runtime.ts'
import { tree } from '../../fixtures/scratch/tree.ts'

const [ODD, GOOD] = [makeCa('Odd Root'), makeCa('Good Root')]
const OPTIONS = { address: undefined, byHand: true, consentUnrehearsed: false }

/** The ports, with a private copy that loads the CA file of every host but these. */
async function portsRefusing(root: string, ...hosts: readonly string[]) {
  const ports = scratchPorts(root)
  const restarts: string[] = []
  const refusing = (cri: CriClient): CriClient => ({
    ...cri,
    async pullImage(reference, options) {
      const host = reference.split('/')[0] ?? ''
      if (!hosts.includes(host)) return cri.pullImage(reference, options)
      const cause = `unable to load CA cert "/scratch/certs.d/${host}/ca.crt"`
      const text = `failed to pull and unpack image "${reference}": failed to resolve reference "${reference}": ${cause}`
      return { ok: false, status: 'UNKNOWN', text }
    },
  })
  const runner: RunPorts['runner'] = {
    ...ports.runner,
    async start(request) {
      const daemon = await ports.runner.start(request)
      return daemon.started ? { ...daemon, cri: refusing(daemon.cri) } : daemon
    },
  }
  const systemd: RunPorts['systemd'] = {
    ...ports.systemd,
    async restart(...request) {
      restarts.push(request[0])
      return ports.systemd.restart(...request)
    },
  }
  return { ports: { ...ports, runner, systemd }, restarts }
}

t.test('an anchor that the rehearsal could not load is not written and costs no restart', async (t) => {
  const root = join(t.testdir(), 'node')
  layOut(root)
  const before = tree(root)
  const { ports, restarts } = await portsRefusing(root, 'odd.example.net')
  const wanted = desired({ anchors: [anchor('odd', ODD)], registries: [registry('odd.example.net', 'odd')] })
  const run = await applyRun(wanted, OPTIONS, ports)
  t.match(run.problems, [{ code: 'ANCHOR_UNUSABLE', message: /odd\.example\.net in the rehearsal: .* anchors odd/ }])
  t.same(restarts, [])
  const withoutState = (files: { readonly [path: string]: string }) =>
    Object.fromEntries(Object.entries(files).filter(([path]) => !path.includes('var/lib/registry-trust')))
  t.same(withoutState(tree(root)), withoutState(before))
})

t.test('what is declared beside it is written, and the anchor that both name is left out alone', async (t) => {
  const root = join(t.testdir(), 'node')
  layOut(root)
  const { ports, restarts } = await portsRefusing(root, 'odd.example.net')
  const wanted = desired({
    anchors: [anchor('odd', ODD), anchor('good', GOOD)],
    registries: [
      registry('odd.example.net', 'odd', 'good'),
      registry('alone.example.net', 'good'),
      registry('both.example.net', 'odd', 'good'),
    ],
  })
  const run = await applyRun(wanted, OPTIONS, ports)
  t.equal(run.outcome, 'applied')
  t.match(run.problems, [{ code: 'ANCHOR_UNUSABLE', message: /anchors odd is written$/ }])
  t.equal(restarts.length, 1)
  t.equal(readFileSync(join(root, CERTS_D, 'alone.example.net/ca.crt'), 'utf8'), GOOD.pem)
  const bundle = readFileSync(join(root, 'etc/ssl/certs/ca-certificates.crt'), 'utf8')
  t.ok(bundle.includes(GOOD.pem))
  t.notOk(bundle.includes(ODD.pem))
  const folder = join(root, CERTS_D, 'odd.example.net')
  t.notOk(existsSync(folder) && readFileSync(join(folder, 'ca.crt'), 'utf8').includes(ODD.pem))
})
