// Runs on a node of CRI-O: real files and state on a scratch root, and a fake for CRI-O that trusts what its host folders
// say, in its recorded words. (The real one is in test/e2e/crio.test.ts, for who brings it.)
import { existsSync, mkdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { DesiredState } from '../../../agent/model/desired-state.ts'
import type { CriClient } from '../../../agent/model/ports.ts'
import type { RunPorts } from '../../../agent/model/run-ports.ts'
import { applyRun, planRun } from '../../../agent/reconcile/run/entry.ts'
import { uninstallRun } from '../../../agent/reconcile/run/leaving/uninstall.ts'
import { anchor, desired, makeCa, registry } from '../../fixtures/scratch/sample.ts'
import { scratchPorts } from '../../fixtures/scratch/scratch-runtime.ts'

const HOST = 'crio-unit.invalid'
const FOLDER = `/etc/containers/certs.d/${HOST}`
const MIRRORS = '/etc/containers/registries.conf.d/50-registry-trust.conf'
const BY_HAND = { address: undefined, byHand: true, consentUnrehearsed: false }
const BY_ITSELF = { ...BY_HAND, byHand: false }
const [first, second] = [makeCa('First'), makeCa('Second')]
const WANTED = desired({ anchors: [anchor('root', first)], registries: [registry(HOST, 'root')] })

/** `isTrusted`: of the bytes of ca.crt, where there is one. */
function nodeOf(t: Test, isTrusted: (ca: string) => boolean = () => true, etc: object = {}) {
  const root = t.testdir({
    etc: { containers: { 'registries.conf.d': {} }, ssl: { certs: {} }, ...etc },
    run: { crio: { 'crio.sock': '' } },
    var: { lib: {} },
  } as Parameters<Test['testdir']>[0])
  const path = join(root, FOLDER, 'ca.crt')
  const trusts = () => existsSync(path) && isTrusted(readFileSync(path, 'utf8'))
  const ports: RunPorts = { ...scratchPorts(root), connectCri: () => crio(trusts) }
  return { root, ports, ca: () => (existsSync(path) ? readFileSync(path, 'utf8') : undefined) }
}

function crio(trusts: () => boolean): CriClient {
  const nobody = async () => []
  return {
    version: async () => ({ runtimeName: 'cri-o', runtimeVersion: '1.36.3' }),
    status: async () => ({ runtimeReady: true, networkReady: true }),
    async pullImage(reference) {
      const source = `initializing source docker://${reference}: `
      const text = trusts()
        ? `unable to pull image or OCI artifact: pull image err: ${source}reading manifest does-not-exist in ${HOST}/registry-trust/probe: manifest unknown; artifact err: image reference: x`
        : `unable to pull image: ${source}pinging container registry ${HOST}: Get "https://${HOST}/v2/": tls: failed to verify certificate: x509: certificate signed by unknown authority`
      return { ok: false, status: 'UNKNOWN', text }
    },
    imageDigests: nobody,
    imageExists: async () => false,
    imageArchitecture: async () => undefined,
    runningContainers: nobody,
    containerStart: async (id) => ({ id, state: 'RUNNING', startedAt: '' }),
    activity: async () => ({ downloads: [], created: [] }),
    close() {},
  }
}

t.test('what CRI-O reads is written and proved by its pulls, and uninstall leaves nothing', async (t) => {
  const { ports, ca, root } = nodeOf(t)
  const planned = await planRun(WANTED, BY_HAND, ports)
  t.match(planned, { outcome: 'planned', problems: [], runtime: { name: 'cri-o', version: '1.36.3' } })
  t.notOk(existsSync(join(root, FOLDER)), 'a plan writes nothing')
  const applied = await applyRun(WANTED, BY_ITSELF, ports)
  t.match(applied, {
    outcome: 'applied',
    problems: [],
    restarts: [],
    proofs: [{ by: 'live', finding: { code: 'trusted' } }],
  })
  t.equal(ca(), first.pem)
  t.equal(applied.state.generation, WANTED.generation)
  t.match(await applyRun(WANTED, BY_ITSELF, ports), { outcome: 'unchanged', proofs: [{ by: 'live' }] })
  t.match(await uninstallRun(WANTED, BY_HAND, ports), { outcome: 'applied' })
  t.notOk(existsSync(join(root, '/etc/containers/certs.d')))
})

t.test('a change by which CRI-O trusts no longer is put back, told, and not tried again by itself', async (t) => {
  const { ports, ca } = nodeOf(t, (text) => text.includes(first.pem) && !text.includes(second.pem))
  t.match(await applyRun(WANTED, BY_ITSELF, ports), { outcome: 'applied' })
  const anchors = [anchor('root', second)]
  const next = { ...WANTED, generation: 'bbbbbbbbbbbb', anchors }
  const undone = await applyRun(next, BY_ITSELF, ports)
  t.match(undone, { outcome: 'rolled-back', error: { code: 'TRUST_LOST' }, proofs: [{ finding: { code: 'trusted' } }] })
  t.equal(ca(), first.pem)
  t.match(undone.state.transactions.at(-1), { result: 'rolled-back', changes: 0 })
  t.match(await applyRun(next, BY_ITSELF, ports), {
    outcome: 'refused',
    problems: [{ code: 'GENERATION_ROLLED_BACK' }],
  })
  t.equal(ca(), first.pem)
  t.match(await applyRun(next, { ...BY_ITSELF, allowOrphan: true, byHand: true }, ports), { outcome: 'applied' })
  t.match(ca(), second.pem, 'a person may want it')
})

t.test('containerd that is asked for by name is missed, and what CRI-O reads is written all the same', async (t) => {
  const { ports, ca } = nodeOf(t)
  const targets = { ...WANTED.targets, containerd: { ...WANTED.targets.containerd, enabled: 'on' as const } }
  const run = await applyRun({ ...WANTED, targets }, BY_ITSELF, ports)
  t.match(run, { outcome: 'no-containerd', error: { code: 'NOT_CONTAINERD' }, proofs: [{ by: 'live' }] })
  t.equal(ca(), first.pem)
})

t.test('what CRI-O cannot be given is told by its name, and the rest is done', async (t) => {
  const { ports, ca } = nodeOf(t)
  const registries = [{ ...registry(HOST, 'root'), headers: { 'X-Team': ['a'] }, skipVerify: false, plainHttp: true }]
  const run = await applyRun(
    { ...WANTED, registries, wildcard: registry('*') } as unknown as DesiredState,
    BY_ITSELF,
    ports,
  )
  t.match(
    run.planned?.plan.warnings.map(({ message }) => message),
    [/^headers, plainHttp of crio-unit\.invalid cannot be configured for CRI-O/, /^the registry "\*" cannot/],
  )
  t.equal(run.outcome, 'applied')
  t.equal(ca(), first.pem)
})

t.test('mirrors wait for CRI-O to read them, as far as that can be seen', async (t) => {
  const mirrors = [
    { url: 'https://mirror.invalid', capabilities: ['pull', 'resolve'], overridePath: false, anchors: [] },
  ]
  const wanted = { ...WANTED, registries: [{ ...registry(HOST, 'root'), mirrors }] } as unknown as DesiredState
  const codes = async (ports: RunPorts) => {
    const { planned } = await applyRun(wanted, BY_ITSELF, ports)
    return (planned?.plan.warnings ?? []).filter(({ code }) => code === 'RELOAD_PENDING').map(({ message }) => message)
  }
  const { ports, root } = nodeOf(t)
  t.match(await codes(ports), [/is changed by this plan/])
  t.match(await codes(ports), [/when CRI-O read it/], 'still, where nothing shows that it has read them')
  const reloads = reloadedAt(ports, Date.now() + 60_000)
  t.same(await codes(reloads), [], 'after `systemctl reload crio`')
  const long = new Date(Date.now() + 120_000)
  utimesSync(join(root, MIRRORS), long, long)
  t.match(await codes(reloads), [/was last seen at/], 'changed again after it')
  mkdirSync(join(root, '/etc/crio'))
  writeFileSync(join(root, '/etc/crio/crio.conf'), '[crio.image]\nauto_reload_registries = true\n')
  t.same(await codes(ports), [], 'where CRI-O reads them by itself')
})

function reloadedAt(ports: RunPorts, changedAt: number): RunPorts {
  const unit = async (name: string) => {
    const facts = await ports.systemd.unit(name)
    return facts === undefined ? undefined : { ...facts, changedAt }
  }
  return { ...ports, systemd: { ...ports.systemd, unit } }
}
