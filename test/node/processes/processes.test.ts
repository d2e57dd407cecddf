import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs, { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, unlinkSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { connect } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { processes } from '../../../agent/node/processes/processes.ts'
import {
  generations,
  listening,
  sanitisedConfig,
  shortFolder,
  startContainerd,
  until,
} from '../../fixtures/node/private-containerd.ts'

/** A small program that listens on a unix socket: a copy of node, as the name of its file matters. */
async function listener(
  test: Test,
  program: string,
  socket: string,
  through: readonly string[] = [],
  env: NodeJS.ProcessEnv = {},
): Promise<ChildProcess> {
  const code = 'require("net").createServer(()=>{}).listen(process.argv[1])'
  const [command = '', ...args] = [...through, program, '-e', code, socket]
  const child = spawn(command, args, { stdio: 'ignore', env: { PATH: process.env['PATH'], ...env } })
  test.teardown(() => child.kill('SIGKILL'))
  return child
}

const all = generations()
t.ok(all.length > 0, 'there is a containerd to test with')

for (const generation of all) {
  t.test(`finds containerd ${generation.label} by its socket`, async (t) => {
    const folder = shortFolder(t)
    const daemon = await startContainerd(t, generation, folder, sanitisedConfig(generation, folder))
    const before = Date.now()
    // The file is there a moment before the daemon listens.
    await until(async () => (await processes().listeningOn(daemon.socket)).length > 0)
    const found = await processes().listeningOn(daemon.socket)
    t.equal(found.length, 1)
    const [info] = found
    t.match(info, {
      pid: daemon.pid(),
      executable: /\/containerd$/,
      environment: { PATH: /.+/, HOME: folder, HTTPS_PROXY: 'http://127.0.0.1:9' },
    })
    t.notOk(info?.environment['SECRET'], 'other variables are not kept')
    t.equal(info?.argv[1], '-c')
    const age = before - (info?.startedAt ?? 0)
    t.ok(age < 30_000 && age > -50, `it started just now: ${age} ms ago`)
    t.equal(info?.executableReplaced, undefined)
  })
}

t.test('tells the same start of a process at each look', async (t) => {
  const folder = shortFolder(t)
  const socket = join(folder, 's')
  await listener(t, process.execPath, socket)
  await listening(socket)
  const starts = new Set<number | undefined>()
  for (let look = 0; look < 30; look += 1) {
    starts.add((await processes().listeningOn(socket))[0]?.startedAt)
    await new Promise((resolve) => setTimeout(resolve, 3))
  }
  t.equal(starts.size, 1, [...starts].join(', '))
  t.not([...starts][0], undefined)
})

t.test('goes through the descriptors of all processes once, and again for another daemon', async (t) => {
  const socket = join(shortFolder(t), 's')
  const child = await listener(t, process.execPath, socket)
  await listening(socket)
  const real = fs.readdirSync
  let looked = 0
  fs.readdirSync = ((path: string, ...rest: []) => {
    if (/^\/proc\/\d+\/fd$/.test(path)) looked += 1
    return real(path, ...rest)
  }) as typeof fs.readdirSync
  syncBuiltinESMExports()
  t.teardown(() => {
    fs.readdirSync = real
    syncBuiltinESMExports()
  })
  const found = processes()
  const pids = async () => {
    looked = 0
    return (await found.listeningOn(socket)).map(({ pid }) => pid)
  }
  t.same(await pids(), [child.pid])
  t.ok(looked > 1)
  t.same(await pids(), [child.pid])
  t.equal(looked, 1, 'only those of the daemon')
  child.kill('SIGKILL')
  await once(child, 'exit')
  t.same(await pids(), [])
  unlinkSync(socket)
  const next = await listener(t, process.execPath, socket)
  await listening(socket)
  t.same(await pids(), [next.pid])
})

t.test('nobody listens on a socket that does not exist, is stale, or is no socket', async (t) => {
  const folder = shortFolder(t)
  const socket = join(folder, 's')
  const child = await listener(t, process.execPath, socket)
  await listening(socket)
  child.kill('SIGKILL')
  await once(child, 'exit')
  t.ok(existsSync(socket), 'the file of a killed daemon stays')
  t.same(await processes().listeningOn(socket), [])
  t.same(await processes().listeningOn(join(folder, 'none')), [])
  t.same(await processes().listeningOn('/etc/passwd'), [])
})

t.test('a client of the socket is not taken for the daemon', async (t) => {
  const folder = shortFolder(t)
  const socket = join(folder, 's')
  const child = await listener(t, process.execPath, socket)
  await listening(socket)
  const client = connect(socket)
  await once(client, 'connect')
  t.teardown(() => client.destroy())
  t.same(
    (await processes().listeningOn(socket)).map(({ pid }) => pid),
    [child.pid],
  )
})

t.test('a shim that inherited the socket is not taken for the daemon', async (t) => {
  const folder = shortFolder(t)
  const shim = join(folder, 'containerd-shim-runc-v2')
  copyFileSync(process.execPath, shim)
  const code = `const { spawn } = require('child_process')
    const s = require('net').createServer(() => {}).listen(process.argv[1], () =>
      spawn(process.argv[2], ['-e', 'setInterval(() => {}, 1e6)'], { stdio: ['ignore', 'ignore', 'ignore', s._handle.fd] }))`
  const socket = join(folder, 's')
  const child = spawn(process.execPath, ['-e', code, socket, shim], { stdio: 'ignore', detached: true })
  t.teardown(() => process.kill(-(child.pid ?? 0), 'SIGKILL'))
  await until(() => readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim() !== '')
  await listening(socket)
  t.same(
    (await processes().listeningOn(socket)).map(({ pid }) => pid),
    [child.pid],
  )
})

t.test('a child that the daemon forked is not taken for a second daemon', async (t) => {
  const socket = join(shortFolder(t), 's')
  // What every child is between fork and exec: the same program, with the socket still open.
  const code = `const { spawn } = require('child_process')
    const s = require('net').createServer(() => {}).listen(process.argv[1], () =>
      spawn(process.execPath, ['-e', 'setInterval(() => {}, 1e6)'], { stdio: ['ignore', 'ignore', 'ignore', s._handle.fd] }))`
  const child = spawn(process.execPath, ['-e', code, socket], { stdio: 'ignore', detached: true })
  t.teardown(() => process.kill(-(child.pid ?? 0), 'SIGKILL'))
  await until(() => readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim() !== '')
  await listening(socket)
  t.same(
    (await processes().listeningOn(socket)).map(({ pid }) => pid),
    [child.pid],
  )
})

t.test('a daemon whose binary was upgraded is told with its path and as replaced', async (t) => {
  const folder = shortFolder(t)
  const [program, socket] = [join(folder, 'containerd'), join(folder, 's')]
  copyFileSync(process.execPath, program)
  await listener(t, program, socket)
  await listening(socket)
  t.match(await processes().listeningOn(socket), [{ executable: program, executableReplaced: undefined }])
  copyFileSync(process.execPath, `${program}.new`)
  renameSync(`${program}.new`, program)
  t.match(await processes().listeningOn(socket), [{ executable: program, executableReplaced: true }])
})

t.test('finds a daemon in another network namespace', async (t) => {
  const socket = join(shortFolder(t), 's')
  const child = await listener(t, process.execPath, socket, ['unshare', '--net'])
  await listening(socket)
  t.same(
    (await processes().listeningOn(socket)).map(({ pid }) => pid),
    [child.pid],
  )
})

t.test('finds the daemon of the root that was asked for, not another of the same path', async (t) => {
  const folder = shortFolder(t)
  const socket = '/run/rt.sock'
  const roots = ['a', 'b'].map((name) => join(folder, name))
  const pids: (number | undefined)[] = []
  for (const root of roots) {
    mkdirSync(join(root, 'run'), { recursive: true })
    // Each has its own /run, as two nodes on one machine do, and shares the network namespace.
    const script = `mount --bind "${root}/run" /run; exec "$@"`
    const child = await listener(t, process.execPath, socket, ['unshare', '-m', 'sh', '-ec', script, 'sh'])
    await listening(join(root, socket))
    pids.push(child.pid)
  }
  for (const [index, root] of roots.entries()) {
    const found = await processes({ root }).listeningOn(join(root, socket))
    t.same(
      found.map(({ pid }) => pid),
      [pids[index]],
    )
  }
})

t.test('tells living, ended and zombie processes apart', async (t) => {
  const child = spawn('sleep', ['60'])
  t.teardown(() => child.kill('SIGKILL'))
  await once(child, 'spawn')
  const port = processes()
  const pid = child.pid ?? 0
  t.equal(port.isAlive(pid), true)
  port.terminate(pid)
  const [, signal] = await once(child, 'exit')
  t.equal(signal, 'SIGTERM')
  t.equal(port.isAlive(pid), false)
  t.throws(() => port.terminate(pid), {
    code: 'RESTART_FAILED',
    message: `cannot end process ${pid}: it has ended`,
  })
  // The child outlives the shell, which would clear it away; what the shell becomes never asks for it.
  const parent = spawn('sh', ['-c', 'sleep 1 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] })
  t.teardown(() => parent.kill('SIGKILL'))
  const [line] = await once(parent.stdout, 'data')
  await until(() => !port.isAlive(Number(String(line).trim())))
  t.ok(existsSync(`/proc/${String(line).trim()}`), 'a zombie is still in /proc, and dead')
})

t.test('never signals process 1, a process group, or everything', async (t) => {
  for (const pid of [1, 0, -1, Number.NaN])
    t.throws(() => processes().terminate(pid), { code: 'RESTART_FAILED', message: /refused/ })
})
