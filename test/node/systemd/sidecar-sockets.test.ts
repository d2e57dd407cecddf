// Waiting for the sidecars: as long as it takes them, and no longer than there is sense in it.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { awaitSockets } from '../../../agent/node/systemd/sidecar-sockets.ts'

t.test('a socket that comes late is waited for', async (t) => {
  const path = join(t.testdir({}), 'cri.sock')
  const began = Date.now()
  setTimeout(() => writeFileSync(path, ''), 100)
  await awaitSockets([path, undefined])
  const tookMs = Date.now() - began
  t.ok(tookMs >= 95 && tookMs < 2_000, `${tookMs} ms`)
})

t.test('one that does not come is not waited for without end, and none costs nothing', async (t) => {
  const began = Date.now()
  await awaitSockets([undefined, undefined], { patienceMs: 60_000 })
  t.ok(Date.now() - began < 30_000)
  const waitingSince = Date.now()
  await awaitSockets([join(t.testdir({}), 'never')], { patienceMs: 60 })
  t.ok(Date.now() - waitingSince >= 60)
})
