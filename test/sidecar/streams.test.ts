// What a peer does to the sidecars by going away or by asking too much: nothing to anybody but itself. With
// REGISTRY_TRUST_FULL=1 from 5,000 connections instead of 1,500, and three times 1,000 calls instead of once.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client, credentials, type ServiceError, status } from '@grpc/grpc-js'
import t from 'tap'
import { connectCri } from '../../agent/node/cri/client.ts'
import { RUNTIME_PACKAGE } from '../../agent/node/cri/messages.ts'
import { restarterClient } from '../../agent/node/systemd/restarter-client.ts'
import {
  generations,
  sanitisedConfig,
  shortFolder,
  startContainerd,
  untilCriAnswers,
} from '../fixtures/node/private-containerd.ts'
import { sidecar, stillRuns } from '../fixtures/sidecar/process.ts'

const FACTS = '{"verb":"facts"}\n'
const IS_FULL = process.env['REGISTRY_TRUST_FULL'] === '1'
const AT_ONCE = 100
const CONNECTIONS = IS_FULL ? 5_000 : 1_500
const ROUNDS = IS_FULL ? 3 : 1

t.setTimeout(120_000)

async function connected(socket: string): Promise<Socket> {
  const connection = connect(socket)
  connection.on('error', () => undefined)
  await once(connection, 'connect')
  return connection
}

t.test('a client that is killed with an answer unread ends its own connection alone', async (t) => {
  const restarter = await sidecar(t, 'restarter')
  for (let time = 0; time < 5; time += 1) {
    const asks = `const s = require('net').connect(process.argv[1]); s.pause(); s.write(${JSON.stringify(FACTS.repeat(3))}); process.stdout.write('x'); setInterval(() => {}, 1e3)`
    const client = spawn(process.execPath, ['-e', asks, restarter.socket], { stdio: ['ignore', 'pipe', 'inherit'] })
    await once(client.stdout, 'data')
    await sleep(100)
    const ended = once(client, 'exit')
    client.kill('SIGKILL')
    await ended
  }
  await sleep(100)
  stillRuns(t, restarter)
  t.equal(await restarterClient({ socket: restarter.socket }).isAvailable(), false, 'and answers: no systemd here')
})

t.test('a restarter that is killed with a question unread is an error of that question', async (t) => {
  const socket = join(shortFolder(t), 'r.sock')
  // Takes the connection, reads nothing, and goes: what a killed process does to its peer.
  const server = createServer({ pauseOnConnect: true }, (connection) => setTimeout(() => connection.destroy(), 50))
  server.listen(socket)
  await once(server, 'listening')
  t.teardown(() => server.close())
  const asked = restarterClient({ socket }).restart('containerd.service', { timeoutMs: 5_000 })
  await t.rejects(asked, { code: 'RESTART_UNAVAILABLE', message: /no restarter at .*: it closed the connection/ })
})

t.test('an answer that is not JSON is an error of that question', async (t) => {
  const socket = join(shortFolder(t), 'r.sock')
  const server = createServer((connection) => connection.end('<html>\n'))
  server.listen(socket)
  await once(server, 'listening')
  t.teardown(() => server.close())
  await t.rejects(restarterClient({ socket }).unit('containerd.service'), {
    code: 'RESTART_UNAVAILABLE',
    message: /it answered "<html>", which is not JSON/,
  })
})

t.test('100,000 questions, thousands of connections and an endless line: the restarter answers the next', async (t) => {
  const restarter = await sidecar(t, 'restarter')
  const flood = await connected(restarter.socket)
  flood.pause()
  for (let block = 0; block < 100; block += 1) flood.write(FACTS.repeat(1_000))
  const endless = await connected(restarter.socket)
  endless.write('x'.repeat(70_000))
  await Promise.race([once(endless, 'close'), sleep(5_000)])
  t.ok(endless.destroyed || endless.readableEnded, 'a line without an end is not kept')
  let answered = 0
  for (let batch = 0; batch < CONNECTIONS / AT_ONCE; batch += 1) {
    const batchOf = Array.from({ length: AT_ONCE }, async () => {
      const connection = connect(restarter.socket)
      connection.on('error', () => undefined)
      connection.on('data', () => {
        answered += 1
      })
      connection.write(FACTS)
      await Promise.race([once(connection, 'data'), once(connection, 'close'), sleep(1_000)]).catch(() => undefined)
      connection.destroy()
    })
    await Promise.all(batchOf)
  }
  t.comment(`${answered} of ${CONNECTIONS} connections were answered`)
  stillRuns(t, restarter)
  flood.destroy()
  await sleep(50)
  const one = await connected(restarter.socket)
  one.write(FACTS)
  t.match(String((await once(one, 'data'))[0]), /"ok":true/)
  one.destroy()
})

t.test('1,000 calls at once on one connection are answered or refused', async (t) => {
  const [generation] = generations()
  if (generation === undefined) return t.fail('no containerd was fetched: run scripts/install-fixtures')
  const folder = shortFolder(t)
  const containerd = await startContainerd(t, generation, folder, sanitisedConfig(generation, folder))
  const direct = connectCri(containerd.socket)
  await untilCriAnswers(direct)
  direct.close()
  const proxy = await sidecar(t, 'cri-proxy', containerd.socket)
  const client = new Client(`unix:${proxy.socket}`, credentials.createInsecure(), { 'grpc.default_authority': 'x' })
  t.teardown(() => client.close())
  const pass = (value: Buffer) => value
  const path = `/${RUNTIME_PACKAGE}.RuntimeService/Status`
  const call = () =>
    new Promise<number>((resolve) => {
      const done = (error: ServiceError | null) => resolve(error?.code ?? status.OK)
      client.makeUnaryRequest(path, pass, pass, Buffer.alloc(0), { deadline: Date.now() + 30_000 }, done)
    })
  for (let round = 0; round < ROUNDS; round += 1) {
    const codes = await Promise.all(Array.from({ length: 1_000 }, call))
    const counts = Object.entries(Object.groupBy(codes, (code) => status[code] ?? code))
    t.comment(counts.map(([code, each]) => `${code} ${each?.length}`).join(', '))
    t.ok(codes.includes(status.OK), 'some are answered')
    const others = codes.filter((code) => code !== status.OK && code !== status.RESOURCE_EXHAUSTED)
    t.same(others, [], 'the rest is refused')
  }
  stillRuns(t, proxy)
  return undefined
})
