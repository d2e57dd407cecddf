// A containerd that ends or hangs is noticed within two seconds, whatever its socket looks like: real processes on a
// real socket.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { watchPulse } from '../../agent/daemon/pulse.ts'
import { AgentError } from '../../agent/model/errors.ts'
import type { CriClient } from '../../agent/model/ports.ts'
import { systemClock } from '../../agent/node/clock.ts'
import { connectCri } from '../../agent/node/cri/client.ts'

/** Fake: answers Version as often as told, then as told. */
function runtime(t: Test, version: () => Promise<never> | Promise<{ runtimeName: string; runtimeVersion: string }>) {
  let connections = 0
  let lost = 0
  let socket: string | null = '/run/containerd/containerd.sock'
  const pulse = watchPulse({
    clock: systemClock(),
    connectCri: () => {
      connections += 1
      return { version, close() {} } as unknown as CriClient
    },
    socket: () => socket,
    onLost() {
      lost += 1
      socket = null
    },
  })
  t.teardown(() => pulse.close())
  return { connections: () => connections, lost: () => lost, found: () => (socket = '/run/containerd/containerd.sock') }
}

t.test('a runtime that answers is asked on one connection and reported never', async (t) => {
  let asked = 0
  const { connections, lost } = runtime(t, async () => {
    asked += 1
    return { runtimeName: 'containerd', runtimeVersion: '2.1.9' }
  })
  await sleep(2_500)
  t.equal(connections(), 1)
  t.equal(lost(), 0)
  t.ok(asked >= 1 && asked <= 3, `${asked} calls in 2.5 s`)
})

t.test('one that is down is reported once, and asked again when the loop has found it', async (t) => {
  const { lost, found, connections } = runtime(t, () => Promise.reject(new AgentError('CRI_UNREACHABLE', 'refused')))
  await sleep(2_200)
  t.equal(lost(), 1, 'the loop looks for it by itself')
  found()
  await sleep(1_500)
  t.equal(lost(), 2)
  t.equal(connections(), 2)
})

t.test(
  'a process that was killed leaves its socket, and one that is stopped goes on listening: both are noticed',
  async (t) => {
    for (const signal of ['SIGKILL', 'SIGSTOP'] as const) {
      const folder = mkdtempSync(join(tmpdir(), 'rt-pulse-'))
      t.teardown(() => rmSync(folder, { recursive: true, force: true }))
      const socket = join(folder, 'cri.sock')
      const program = `
      const server = require('node:http2').createServer()
      // gRPC: an empty message and status 0.
      server.on('stream', (stream) => {
        stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
        stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
        stream.end(Buffer.from([0, 0, 0, 0, 0]))
      })
      server.listen(${JSON.stringify(socket)}, () => console.log('ready'))`
      const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] })
      t.teardown(() => child.kill('SIGKILL'))
      await once(child.stdout, 'data')
      const { promise, resolve } = Promise.withResolvers<number>()
      const clock = systemClock()
      const pulse = watchPulse({
        clock,
        connectCri,
        socket: () => socket,
        onLost: () => resolve(clock.monotonic()),
      })
      await sleep(2_200)
      const at = clock.monotonic()
      child.kill(signal)
      const tookMs = (await promise) - at
      t.ok(tookMs < 2_000, `${signal}: noticed after ${Math.round(tookMs)} ms`)
      await pulse.close()
      child.kill('SIGKILL')
    }
  },
)
