// A containerd that ends or hangs is noticed within two seconds, one that answers never: on every generation at once.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer as createHttp2Server } from 'node:http2'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { connectCri } from '../../../agent/node/cri/client.ts'
import { criPulse, proxiedPulse } from '../../../agent/node/cri/pulse.ts'
import { serveLifelines } from '../../../agent/sidecar/lifelines.ts'
import {
  generations,
  sanitisedConfig,
  shortFolder,
  startContainerd,
  untilCriAnswers,
} from '../../fixtures/node/private-containerd.ts'

const pulse = criPulse((socket) => socket)
/** Two beats and more: an answer that is not understood would be one that is missing. */
const STEADY_MS = 3_000
/** Among other tests a beat waits for the processor: the two seconds are judged where this runs alone. */
const NOTICED_WITHIN_MS = process.env['REGISTRY_TRUST_FULL'] === '1' ? 2_000 : 4_000

/** Shorter than the agent's own, and long enough for an answer of a busy machine. */
const everyMs = 500

function following(t: Test, socket: string, by = pulse) {
  const { promise, resolve } = Promise.withResolvers<{ readonly reason: string; readonly at: number }>()
  let isLost = false
  const { close } = by(socket, (reason) => {
    isLost = true
    resolve({ reason, at: performance.now() })
  })
  t.teardown(close)
  return { lost: promise, isLost: () => isLost, close }
}

t.jobs = 4
for (const generation of generations()) {
  t.test(`containerd ${generation.label}`, { buffered: true }, async (t) => {
    const folder = shortFolder(t)
    const daemon = await startContainerd(t, generation, folder, sanitisedConfig(generation, folder))
    const cri = connectCri(daemon.socket)
    t.teardown(() => cri.close())
    await untilCriAnswers(cri)

    const steady = following(t, daemon.socket)
    await sleep(STEADY_MS)
    t.notOk(steady.isLost(), 'it answers')

    // Behind the proxy: the one that waits says nothing, and learns it all the same.
    const lifeline = join(folder, 'p.sock')
    const served = await serveLifelines({ socket: lifeline, pulse: (onLost) => pulse(daemon.socket, onLost) })
    t.teardown(() => served.close())
    const proxied = following(t, lifeline, proxiedPulse(lifeline))
    await sleep(100)
    const stopped = performance.now()
    process.kill(daemon.pid(), 'SIGSTOP')
    for (const one of [steady, proxied]) {
      const { at, reason } = await one.lost
      t.ok(at - stopped < NOTICED_WITHIN_MS, `it hangs: noticed after ${Math.round(at - stopped)} ms (${reason})`)
    }
    process.kill(daemon.pid(), 'SIGCONT')

    for (const by of [pulse, proxiedPulse(lifeline)]) {
      await untilCriAnswers(cri)
      const again = following(t, daemon.socket, by)
      await sleep(300)
      t.notOk(again.isLost())
      const ended = performance.now()
      await (by === pulse ? daemon.restart() : daemon.stop())
      const { at, reason } = await again.lost
      t.ok(at - ended < 1_000, `it ends: noticed after ${Math.round(at - ended)} ms (${reason})`)
    }
  })
}

/** Fake, a process of its own: answers each call with a message of so many bytes. */
async function http2Server(t: Test, messageBytes: number): Promise<string> {
  const socket = join(shortFolder(t), 'h.sock')
  const program = `
    const message = Buffer.alloc(5 + ${messageBytes})
    message.writeUInt32BE(${messageBytes}, 1)
    const server = require('node:http2').createServer().on('stream', (stream) => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
      stream.end(message)
    })
    server.listen(${JSON.stringify(socket)}, () => console.log('ready'))`
  const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  await once(child.stdout, 'data')
  return socket
}

t.test('a peer is told that its answers were read: after 64 KiB it would fall silent', async (t) => {
  // Twelve answers.
  const one = following(
    t,
    await http2Server(t, 15_000),
    criPulse((path) => path, { everyMs }),
  )
  await sleep(12.5 * everyMs)
  t.notOk(one.isLost())
})

t.test('a ping is answered, with a later question', async (t) => {
  const pongs = Promise.withResolvers<number>()
  const server = createHttp2Server().on('stream', (stream) => {
    stream.respond({ ':status': 200 }, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
    stream.end(Buffer.alloc(5))
  })
  server.on('session', (session) => {
    t.teardown(() => session.destroy())
    let answered = 0
    for (let ping = 0; ping < 3; ping++)
      session.ping((error) => {
        if (error !== null) pongs.reject(error)
        answered += 1
        if (answered === 3) pongs.resolve(performance.now())
      })
  })
  const socket = join(shortFolder(t), 'p.sock')
  server.listen(socket)
  await once(server, 'listening')
  t.teardown(() => server.close())
  const began = performance.now()
  const one = following(
    t,
    socket,
    criPulse((path) => path, { everyMs }),
  )
  const afterMs = (await pongs.promise) - began
  t.ok(afterMs > 8 * everyMs, `after ${Math.round(afterMs)} ms`)
  t.notOk(one.isLost())
})

t.test('a process that was held up itself does not take that for a containerd that hangs', async (t) => {
  const socket = await http2Server(t, 10)
  const one = following(
    t,
    socket,
    criPulse((path) => path, { everyMs }),
  )
  // Right after the first question, until the second is due: the answer is there and was not read.
  setTimeout(
    () => setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1.5 * everyMs)),
    everyMs,
  )
  await sleep(4 * everyMs)
  t.notOk(one.isLost())
})

t.test('what is no containerd, or nothing at all, is lost at once', async (t) => {
  const socket = join(shortFolder(t), 's.sock')
  t.match(await following(t, socket).lost, { reason: /ENOENT/ })
  const said: Socket[] = []
  const server = createServer((connection) => {
    said.push(connection.on('error', () => undefined))
    connection.write('HTTP/1.1 400 Bad Request\r\n\r\n')
  })
  server.listen(socket)
  await once(server, 'listening')
  t.teardown(() => {
    for (const connection of said) connection.destroy()
    server.close()
  })
  t.match(await following(t, socket).lost, { reason: /no HTTP\/2/ })
})
