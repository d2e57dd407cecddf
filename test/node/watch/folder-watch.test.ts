// Folders of the node: one watch each, and nothing that happens in them goes unseen.
import { chmodSync, mkdirSync, renameSync, rmSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { type FolderWatch, watchFolder } from '../../../agent/node/watch/folder-watch.ts'
import { until } from '../../fixtures/node/private-containerd.ts'

const QUIET_MS = 100

function watched(t: Test, path: string, depth: number) {
  let events = 0
  const failures: unknown[] = []
  const folder: FolderWatch = watchFolder(path, depth, {
    onChange: () => (events += 1),
    onFailure: (error) => failures.push(error),
  })
  t.teardown(() => folder.close())
  const tells = async (what: string, act: () => void) => {
    await sleep(QUIET_MS)
    events = 0
    act()
    await until(() => events > 0)
    t.pass(what)
  }
  return { folder, tells, failures, events: () => events }
}

t.test('takes one watch a folder, however many files lie in them', async (t) => {
  const hosts = Array.from({ length: 200 }, (_, index) => [`h${index}`, { 'ca.crt': '', 'hosts.toml': '', more: '' }])
  const root = t.testdir({ certs: Object.fromEntries(hosts) })
  const { folder, failures } = watched(t, join(root, 'certs'), 1)
  // The folder above, the folder, and the host folders.
  t.equal(folder.size(), 202)
  t.strictSame(failures, [])
})

t.test('tells of every kind of change, in folders that come later too', async (t) => {
  const root = t.testdir({ certs: { host: { 'ca.crt': 'one' } } })
  const at = (path: string) => join(root, 'certs', path)
  const { tells, folder } = watched(t, join(root, 'certs'), 1)
  await tells('a file altered', () => writeFileSync(at('host/ca.crt'), 'two'))
  await tells('a mode changed', () => chmodSync(at('host/ca.crt'), 0o600))
  await tells('a file made', () => writeFileSync(at('host/new'), ''))
  await tells('a file deleted', () => unlinkSync(at('host/new')))
  await tells('a folder made', () => mkdirSync(at('other')))
  await tells('a file in the new folder', () => writeFileSync(at('other/ca.crt'), ''))
  await tells('a folder renamed', () => renameSync(at('other'), at('third')))
  await tells('a file in the renamed folder', () => writeFileSync(at('third/ca.crt'), 'x'))
  await tells('a folder put in the place of another', () => {
    rmSync(at('host'), { recursive: true })
    renameSync(at('third'), at('host'))
  })
  await tells('a file in the folder in its place', () => writeFileSync(at('host/ca.crt'), 'y'))
  await sleep(QUIET_MS)
  t.equal(folder.size(), 3)
})

t.test('tells when the folder itself goes and comes again, with folders above it', async (t) => {
  const root = t.testdir({ etc: { containerd: { 'certs.d': {} } } })
  const certs = join(root, 'etc/containerd/certs.d')
  const { tells } = watched(t, certs, 1)
  await tells('it is deleted', () => rmSync(certs, { recursive: true }))
  await tells('it is made again', () => mkdirSync(certs))
  await tells('a host folder in it', () => mkdirSync(join(certs, 'host')))
  await tells('a file in that', () => writeFileSync(join(certs, 'host/ca.crt'), ''))
  await tells('all is deleted', () => rmSync(join(root, 'etc'), { recursive: true }))
  await tells('all is made again', () => mkdirSync(join(certs, 'host'), { recursive: true }))
  await tells('a file in it', () => writeFileSync(join(certs, 'host/ca.crt'), ''))
})

t.test('tells nothing of the folder in which the agent makes its own files', async (t) => {
  const root = t.testdir({ certs: {} })
  const { events } = watched(t, join(root, 'certs'), 1)
  mkdirSync(join(root, 'certs/.registry-trust.tmp'))
  writeFileSync(join(root, 'certs/.registry-trust.tmp/file'), '')
  rmSync(join(root, 'certs/.registry-trust.tmp'), { recursive: true })
  await sleep(QUIET_MS * 2)
  t.equal(events(), 0)
})
