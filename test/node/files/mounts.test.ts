// What is mounted where, from a mountinfo as the kernel writes it; real mounts are in test/e2e/advisories.test.ts.
import { join } from 'node:path'
import t from 'tap'
import { deletedFolders, staleHostsFile, staleSources } from '../../../agent/daemon/watch/mounts.ts'
import { mounts } from '../../../agent/node/files/mounts.ts'

const MOUNTINFO = String.raw`1 0 8:1 / / rw - ext4 /dev/sda1 rw
2 1 8:1 /var/lib/kubelet/pods/a/volumes/kubernetes.io~configmap/config /etc/registry-trust rw - ext4 /dev/sda1 rw
3 1 8:1 /kubelet/..2026_11_21/extra.yaml /etc/extra.yaml ro - ext4 /dev/sda1 rw
4 1 8:1 /etc/containerd//deleted /host/etc/containerd rw - ext4 /dev/sda1 rw
5 1 8:1 /etc/ssl/certs /host/etc/ssl/certs rw - ext4 /dev/sda1 rw
6 1 8:1 /with\040space /host/with\040space rw - ext4 /dev/sda1 rw
7 4 8:1 /etc/containerd/certs.d /host/etc/containerd/certs.d rw - ext4 /dev/sda1 rw
`

t.test('a line is a path and whether its source is gone', async (t) => {
  const path = join(t.testdir({ mountinfo: MOUNTINFO }), 'mountinfo')
  const found = mounts({ path })()
  t.equal(found.length, 7)
  t.match(found[3], { path: '/host/etc/containerd', isSourceDeleted: true })
  t.match(found[5], { path: '/host/with space', isSourceDeleted: false })
  t.same(mounts({ path: join(path, 'none') })(), [], 'nothing is known where there is no /proc')
  t.ok(
    mounts()().some(({ path: each }) => each === '/'),
    'and this machine has a root',
  )
})

t.test('stale sources and deleted folders: the innermost mount decides', async (t) => {
  const points = mounts({ path: join(t.testdir({ mountinfo: MOUNTINFO }), 'mountinfo') })()
  const sources = ['/etc/registry-trust/trust.yaml', '/etc/extra.yaml', '/host/etc/containerd/ca.pem']
  t.match(staleSources(sources, points), [
    { target: 'source', path: '/etc/extra.yaml', kind: 'source-stale', reason: /subPath/ },
    { path: '/host/etc/containerd/ca.pem', reason: /restart the Pod/ },
  ])
  t.same(deletedFolders(['/host/etc/containerd', '/host/etc/containerd/certs.d', '/host/etc/ssl/certs'], points), [
    '/host/etc/containerd',
  ])
})

t.test("the node's hosts file is told when another one took its place", async (t) => {
  const at = (source: string) =>
    mounts({
      path: join(t.testdir({ mountinfo: `8 1 8:1 ${source} /etc/hosts ro - ext4 /dev/sda1 rw\n` }), 'mountinfo'),
    })()
  t.same(staleHostsFile(at('/etc/hosts')), [])
  t.match(staleHostsFile(at('/etc/hosts//deleted')), [
    { path: '/etc/hosts', kind: 'source-stale', reason: /restart the Pod/ },
  ])
})
