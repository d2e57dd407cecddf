import t from 'tap'
import { DAEMONS, staleRoots } from '../../agent/diagnose/stale-roots.ts'
import type { UnitFacts } from '../../agent/model/ports.ts'

const CHANGED = Date.parse('2026-03-04T05:06:07Z')
const ROOTS = { path: '/etc/ssl/certs/ca-certificates.crt', changedAt: CHANGED }

/** Stands for a systemd with some of the daemons; a real one has no more than a few of them at once. */
function systemdWith(units: { readonly [name: string]: Pick<UnitFacts, 'mainPid'> & { readonly startedAt?: number } }) {
  const rest = {
    loadState: 'loaded',
    activeState: 'active',
    subState: 'running',
    killMode: 'process',
    execStart: [],
    result: 'success',
    hasJob: false,
    exitStatus: 0,
  }
  return {
    isAvailable: async () => true,
    unit: async (name: string): Promise<UnitFacts | undefined> => {
      const unit = units[name]
      return unit === undefined ? undefined : { ...rest, name, environment: {}, restarts: 0, ...unit }
    },
  }
}

t.test('a daemon that started before the store changed is named with since when and a cure', async (t) => {
  for (const { unit } of DAEMONS) {
    const found = await staleRoots(ROOTS, systemdWith({ [unit]: { mainPid: 7, startedAt: CHANGED - 1 } }))
    t.match(found, [{ where: unit, what: /2026-03-04T05:06:06\.999Z.*2026-03-04T05:06:07\.000Z/, remedy: /Restart/ }])
  }
})

t.test('one that started later, does not run, or does not tell when it started is not', async (t) => {
  const systemd = systemdWith({
    'kubelet.service': { mainPid: 7, startedAt: CHANGED },
    'docker.service': { mainPid: 0, startedAt: CHANGED - 1 },
    'crio.service': { mainPid: 7 },
  })
  t.strictSame(await staleRoots(ROOTS, systemd), [])
  t.strictSame(await staleRoots(undefined, systemd), [])
  t.strictSame(await staleRoots(ROOTS, { ...systemd, isAvailable: async () => false }), [])
})

t.test('a unit that the restarter does not show is left out, and the others are told', async (t) => {
  const systemd = systemdWith({ 'k3s.service': { mainPid: 7, startedAt: CHANGED - 1 } })
  const unit = async (name: string) => {
    if (!name.startsWith('k3s')) throw new Error(`${name} is none of k3s.service`)
    return await systemd.unit(name)
  }
  t.match(await staleRoots(ROOTS, { ...systemd, unit }), [{ where: 'k3s.service' }])
})
