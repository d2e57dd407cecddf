// What a Pod lacks for what trust.yaml asks, told with the profile that grants it. On the rendered Pod itself:
// test/deploy/mounts.test.ts.
import t from 'tap'
import { missingMounts } from '../../agent/diagnose/missing-mounts.ts'
import { type DesiredState, nothingDesired } from '../../agent/model/desired-state.ts'
import type { MountPoint } from '../../agent/model/ports.ts'

const NOTHING = nothingDesired(undefined)

function desired(changes: Partial<DesiredState>, targets: Partial<DesiredState['targets']> = {}): DesiredState {
  return { ...NOTHING, ...changes, targets: { ...NOTHING.targets, ...targets } }
}

function lacking(wanted: DesiredState, mounted: { readonly [path: string]: 'ro' | 'rw' }, hasRuntime = true) {
  const mounts = Object.entries(mounted).map(
    ([path, mode]): MountPoint => ({ path, isSourceDeleted: false, isReadOnly: mode === 'ro' }),
  )
  return missingMounts({
    desired: wanted,
    facts: undefined,
    plan: undefined,
    mounts: [{ path: '/', isSourceDeleted: false, isReadOnly: true }, ...mounts],
    hostPath: (path) => `/host${path}`.replace(/\/$/, ''),
    stateFolder: '/var/lib/registry-trust',
    hasRuntime,
  })
}

const LEAST = { '/host/usr': 'ro', '/host/var/lib/registry-trust': 'rw' } as const

t.test('outside a Pod nothing is missing', async (t) => {
  t.same(lacking(desired({}), {}), [])
})

t.test('what every profile has', async (t) => {
  t.same(lacking(desired({}), LEAST), [])
  t.match(lacking(desired({}), { '/host/usr': 'ro' }), [
    { severity: 'error', path: '/var/lib/registry-trust', what: /is not mounted/ },
  ])
})

t.test('the system store: an error where it is asked for, information where it is automatic', async (t) => {
  const anchors = [{ name: 'corp', certificates: [], problems: [], source: '' }] as unknown as DesiredState['anchors']
  const system = (enabled: 'auto' | 'on' | 'off') =>
    desired({ anchors }, { systemTrust: { ...NOTHING.targets.systemTrust, enabled } })
  const mounted = { ...LEAST, '/host/etc/ssl/certs': 'ro' } as const
  t.match(lacking(system('on'), mounted), [
    {
      severity: 'error',
      path: '/etc/ssl/certs',
      what: /read-only, which is needed for targets\.systemTrust/,
      remedy: /full/,
    },
    // Covered by /usr, which is read-only.
    { severity: 'error', path: '/usr/local/share/ca-certificates', what: /read-only/ },
  ])
  t.same(
    lacking(system('auto'), mounted).map(({ severity }) => severity),
    ['info', 'info'],
  )
  t.same(lacking(system('off'), mounted), [])
  t.same(lacking({ ...system('on'), mode: 'audit' }, mounted), [], 'audit writes nothing')
})

t.test('distrust by its component', async (t) => {
  const distrust: DesiredState['distrust'] = { fingerprints: ['sha256:00'], problems: [] }
  t.match(lacking(desired({ distrust }), LEAST), [{ severity: 'info', path: '/etc', remedy: /components\/distrust/ }])
  t.same(lacking(desired({ distrust }), { ...LEAST, '/host/etc': 'rw' }), [])
})

t.test('builders by their component, a live pull by a socket', async (t) => {
  const proof = { level: 'pull', everyMs: 1, image: 'h/i:1' }
  const registries = [{ host: 'h', anchors: [], proof }] as unknown as DesiredState['registries']
  t.match(lacking(desired({ registries }, { docker: { enabled: 'on' } }), LEAST, false), [
    { path: '/etc/docker', remedy: /components\/builders/ },
    { path: 'h', what: /no socket of containerd/, remedy: /hosts-proof/ },
  ])
})
