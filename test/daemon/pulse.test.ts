// When containerd is followed, and when looking again waits: with a clock that only goes on when everybody sleeps.
import t, { type Test } from 'tap'
import { watchPulse } from '../../agent/daemon/watch/pulse.ts'
import { VirtualTime } from '../fixtures/restart/virtual-time.ts'

const SOCKET = '/run/containerd/containerd.sock'

/** Fake: loses what is followed when it is told to. */
function watched(t: Test) {
  const clock = new VirtualTime()
  const followed: { readonly socket: string; readonly lose: () => void; isClosed: boolean }[] = []
  const lost: string[] = []
  const watch = watchPulse({
    clock,
    pulse(socket, onLost) {
      const one = { socket, lose: () => onLost('hangs'), isClosed: false }
      followed.push(one)
      const close = () => {
        one.isClosed = true
      }
      return { close }
    },
    onLost: (reason) => lost.push(reason),
  })
  t.teardown(() => watch.close())
  /** How long it takes until containerd is followed again. */
  const againMs = async () => {
    const [before, from] = [followed.length, clock.monotonic()]
    watch.see(SOCKET)
    await clock.passUntil(() => followed.length > before, 600_000)
    return clock.monotonic() - from
  }
  return { clock, watch, followed, lost, againMs, lose: () => followed.at(-1)?.lose() }
}

t.test('a runtime that every look finds where it was is followed once', async (t) => {
  const { watch, followed, lost } = watched(t)
  for (let look = 0; look < 3; look++) watch.see(SOCKET)
  t.match(followed, [{ socket: SOCKET, isClosed: false }])
  t.same(lost, [])
})

t.test('another socket is followed instead of the first, and none where no runtime answers', async (t) => {
  const { watch, followed } = watched(t)
  watch.see(SOCKET)
  watch.see('/run/k3s/containerd/containerd.sock')
  t.match(followed, [{ isClosed: true }, { isClosed: false }])
  watch.see(undefined)
  t.equal(followed.at(-1)?.isClosed, true)
  watch.see('none')
  t.equal(followed.length, 2)
})

t.test('one that is lost is told once and is followed again when a look has found it', async (t) => {
  const { watch, followed, lost, lose } = watched(t)
  watch.see(SOCKET)
  lose()
  t.same(lost, ['hangs'])
  watch.see(undefined)
  watch.see(SOCKET)
  t.equal(followed.length, 2)
})

t.test('one that only seems lost again and again is looked at ever more rarely, at last once a minute', async (t) => {
  const { clock, watch, againMs, lose } = watched(t)
  watch.see(SOCKET)
  const pauses: number[] = []
  for (let loss = 0; loss < 8; loss++) {
    lose()
    pauses.push(await againMs())
  }
  t.same(pauses, [0, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000])
  // It was followed for a minute: the next loss counts as the first.
  void clock.sleep(60_000)
  await clock.passUntil(() => false, 60_000)
  lose()
  t.equal(await againMs(), 0)
})
