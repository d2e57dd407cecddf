// What a run waits for, and what has taken its time, by name.
import t from 'tap'
import { Waits } from '../../agent/daemon/waits.ts'

t.test('tells what is under way for long, oldest first, and in sum what has ended', async (t) => {
  let now = 0
  const waits = new Waits({ monotonic: () => now })
  const [first, second] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const one = waits.during('files.put', '/etc/hosts', first.promise)
  now = 4_000
  const other = waits.during('files.put', '/etc/crictl.yaml', second.promise)
  t.same(waits.longest(), [], 'nothing for long')
  now = 9_000
  t.same(waits.longest(), ['files.put /etc/hosts for 9 s', 'files.put /etc/crictl.yaml for 5 s'])
  t.same(waits.spent(), [])
  first.resolve()
  second.reject(new Error('a full disk'))
  await one
  await t.rejects(other, { message: 'a full disk' })
  const short = waits.during('store.save', '', Promise.resolve())
  now += 500
  await short
  t.same(waits.longest(), [])
  t.same(waits.spent(), ['files.put 14 s in 2 calls'])
  waits.begin()
  t.same(waits.spent(), [])
})

t.test('a name and a password in an address are not told', async (t) => {
  let now = 0
  const waits = new Waits({ monotonic: () => now })
  const { promise, resolve } = Promise.withResolvers<void>()
  const fetched = waits.during('tls.fetch', 'http://me:hidden@ca.example.net/root.crt', promise)
  now = 6_000
  const told = waits.longest().join()
  t.match(told, /^tls\.fetch http:.*ca\.example\.net\/root\.crt for 6 s$/)
  t.notMatch(told, /hidden/)
  resolve()
  await fetched
})
