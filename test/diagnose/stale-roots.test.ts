import { utimesSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { DAEMONS, staleRoots } from '../../agent/diagnose/stale-roots.ts'
import type { ServiceProcess, UnitFacts } from '../../agent/model/ports.ts'
import { nodeFiles } from '../../agent/node/files/files.ts'

const CHANGED = Date.parse('2026-03-04T05:06:07Z')
const EARLIER = CHANGED - 3_600_000

type Units = { readonly [name: string]: Partial<UnitFacts> & Pick<UnitFacts, 'mainPid'> }

/** Stands for a systemd with some of the daemons; a real one has no more than a few of them at once. */
function systemdWith(units: Units) {
  const rest = {
    loadState: 'loaded',
    activeState: 'active',
    subState: 'running',
    killMode: 'process',
    execStart: [],
    environment: {},
    restarts: 0,
    result: 'success',
    hasJob: false,
    exitStatus: 0,
  }
  return {
    isAvailable: async () => true,
    unit: async (name: string): Promise<UnitFacts | undefined> => {
      const unit = units[name]
      return unit === undefined ? undefined : { ...rest, name, ...unit }
    },
  }
}

/** A node whose system store changed at CHANGED, and /opt/ca at EARLIER. */
function node(
  t: Test,
  units: Units,
  processes: readonly (Pick<ServiceProcess, 'name' | 'unit' | 'startedAt'> & Partial<ServiceProcess>)[] = [],
) {
  const root = t.testdir({
    etc: { ssl: { certs: { 'ca-certificates.crt': '' } } },
    opt: { ca: { 'own.pem': '' } },
  })
  for (const path of ['etc/ssl/certs/ca-certificates.crt', 'etc/ssl/certs'])
    utimesSync(join(root, path), CHANGED / 1000, CHANGED / 1000)
  for (const path of ['opt/ca/own.pem', 'opt/ca']) utimesSync(join(root, path), EARLIER / 1000, EARLIER / 1000)
  return {
    files: { ...nodeFiles({ root }), hostPath: (path: string) => path },
    systemd: systemdWith(units),
    processes: {
      ofServices: (names: ReadonlySet<string>) =>
        processes.filter(({ name }) => names.has(name)).map((one) => ({ pid: 7, environment: {}, ...one })),
    },
    clock: { now: () => CHANGED + 1000, monotonic: () => 7_200_000 },
  }
}

t.test('a daemon that started before the store changed is named with since when and a cure', async (t) => {
  for (const { unit } of DAEMONS) {
    const found = await staleRoots(node(t, { [unit]: { mainPid: 7, startedAt: CHANGED - 1 } }))
    t.match(found, [{ where: unit, what: /2026-03-04T05:06:06\.999Z.*2026-03-04T05:06:07\.000Z/, remedy: /Restart/ }])
    t.equal(found.length, 1)
  }
})

t.test('one that started later, does not run, or does not tell when it started is not', async (t) => {
  const units = {
    'kubelet.service': { mainPid: 7, startedAt: CHANGED },
    'docker.service': { mainPid: 0, startedAt: CHANGED - 1 },
    'crio.service': { mainPid: 7 },
  }
  const ports = node(t, units)
  t.strictSame(await staleRoots(ports), [])
  const none = { ...ports, files: nodeFiles({ root: t.testdir({}) }) }
  t.strictSame(await staleRoots(none), [], 'no store')
  t.strictSame(await staleRoots({ ...ports, systemd: { ...ports.systemd, isAvailable: async () => false } }), [])
})

t.test('a unit that the restarter does not show is left out, and the others are told', async (t) => {
  const ports = node(t, { 'k3s.service': { mainPid: 7, startedAt: CHANGED - 1 } })
  const unit = async (name: string) => {
    if (!name.startsWith('k3s')) throw new Error(`${name} is none of k3s.service`)
    return await ports.systemd.unit(name)
  }
  t.match(await staleRoots({ ...ports, systemd: { ...ports.systemd, unit } }), [{ where: 'k3s.service' }])
})

t.test('of a unit with a wrapper the daemon itself counts', async (t) => {
  const units = { 'docker.service': { mainPid: 7, startedAt: EARLIER } }
  const at = (startedAt: number) => [{ name: 'dockerd', unit: 'docker.service', startedAt }]
  t.same(await staleRoots(node(t, units, at(CHANGED + 1))), [], 'the wrapper started it anew since')
  t.match(await staleRoots(node(t, units, at(CHANGED - 1))), [
    { where: 'docker.service (dockerd)', what: /runs since 2026-03-04T05:06:06\.999Z/, remedy: /live-restore/ },
  ])
  const foreign = [{ name: 'kubelet', unit: 'corp-node.service', startedAt: EARLIER }]
  t.match(await staleRoots(node(t, {}, foreign)), [
    { where: 'corp-node.service (kubelet)', remedy: /running containers/ },
  ])
  const two = [...at(CHANGED + 1), ...at(EARLIER)]
  t.equal((await staleRoots(node(t, {}, two))).length, 1, 'the oldest of one name')
})

t.test('SSL_CERT_FILE and SSL_CERT_DIR lead to another store, and no other variable shows', async (t) => {
  const own = { SSL_CERT_FILE: '/opt/ca/own.pem', SSL_CERT_DIR: '/opt/ca', TOKEN: 'secret' }
  const by = (environment: { readonly [name: string]: string }, startedAt = EARLIER + 1) => [
    { name: 'dockerd', unit: 'docker.service', startedAt, environment },
  ]
  t.same(await staleRoots(node(t, {}, by(own))), [])
  const stale = await staleRoots(node(t, {}, by(own, EARLIER - 1)))
  t.match(stale, [{ what: /\/opt\/ca\/own\.pem changed at/ }])
  t.notMatch(JSON.stringify(stale), /secret/)
  const unit = { 'docker.service': { mainPid: 7, startedAt: EARLIER + 1, environment: own } }
  t.same(await staleRoots(node(t, unit)), [], 'as systemd tells it')
  t.match(await staleRoots(node(t, {}, by({ SSL_CERT_FILE: '/gone' }))), [])
})

t.test('a Pod that sees neither processes nor units says so, where the store changed since the boot', async (t) => {
  const seen = node(t, {})
  const pod = {
    ...seen,
    files: { ...seen.files, hostPath: (path: string) => `/host${path}` },
    systemd: { ...seen.systemd, isAvailable: async () => false },
  }
  t.match(await staleRoots(pod), [{ where: 'daemons beside containerd', what: /cannot be seen from here/ }])
  t.same(await staleRoots({ ...pod, clock: { now: () => CHANGED + 1000, monotonic: () => 500 } }), [])
})
