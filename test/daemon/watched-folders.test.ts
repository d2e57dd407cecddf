// Which folders the daemon watches: everything it depends on, and nothing twice.
import t from 'tap'
import { foldersToWatch } from '../../agent/daemon/watch/watched-folders.ts'
import type { AgentState } from '../../agent/model/state.ts'

const facts = { configFile: '/etc/containerd/config.toml', importFolders: [], layout: 'plain' }
const certsDirectory = '/etc/containerd/certs.d'

function owned(...paths: readonly string[]): AgentState['owned'] {
  const owner = { kind: 'whole', target: 'system-trust', subject: '', sha256: '', before: { kind: 'absent' } } as const
  return Object.fromEntries(paths.map((path) => [path, owner]))
}

t.test('what is always watched covers what lies in it', async (t) => {
  const always = foldersToWatch({ facts, certsDirectory, owned: {} })
  t.ok(always.some(({ path, depth }) => path === certsDirectory && depth === 1))
  const inIt = owned(
    `${certsDirectory}/harbor.example.net/hosts.toml`,
    '/etc/docker/certs.d/harbor.example.net/ca.crt',
    '/usr/local/share/ca-certificates/ca.crt',
    '/etc/containerd/config.toml',
  )
  t.same(foldersToWatch({ facts, certsDirectory, owned: inIt }), always)
  const inEtc = owned('/etc/hosts', '/etc/crictl.yaml')
  const alone = ['/etc/crictl.yaml', '/etc/hosts'].map((path) => ({ path, depth: 0 }))
  t.same(foldersToWatch({ facts, certsDirectory, owned: inEtc }), [...always, ...alone], 'not all of /etc')
})

t.test(
  'stores of other distributions, drop-ins and registries.conf.d are watched where something is in them',
  async (t) => {
    const elsewhere = owned(
      '/etc/pki/ca-trust/source/anchors/corp.pem',
      '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
      '/etc/containers/registries.conf.d/50-registry-trust.conf',
      '/etc/containerd/registry-trust/harbor.example.net/ca.crt',
    )
    const importFolders = ['/etc/containerd', '/etc/containerd/conf.d']
    const all = foldersToWatch({ facts: { ...facts, importFolders }, certsDirectory, owned: elsewhere })
    const always = foldersToWatch({ facts, certsDirectory, owned: {} })
    const more = [
      '/etc/containerd/conf.d',
      '/etc/containers/registries.conf.d',
      '/etc/pki/ca-trust/extracted/pem',
      '/etc/pki/ca-trust/source/anchors',
    ]
    t.same(all, [...always, ...more.map((path) => ({ path, depth: 0 }))])
  },
)
