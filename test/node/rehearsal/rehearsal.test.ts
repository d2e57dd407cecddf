import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { connectCri } from '../../../agent/node/cri/client.ts'
import { processes } from '../../../agent/node/processes/processes.ts'
import { rehearsalRunner } from '../../../agent/node/rehearsal/rehearsal.ts'
import { isOwnTrouble, refusalOf } from '../../../agent/node/rehearsal/rehearsal-output.ts'
import type { Generation } from '../../fixtures/node/generations.ts'
import {
  generations,
  sanitisedConfig,
  shortFolder,
  startContainerd,
  until,
  untilCriAnswers,
} from '../../fixtures/node/private-containerd.ts'

const SCRIPT = fileURLToPath(new URL('../../fixtures/node/run-rehearsal.ts', import.meta.url))

async function prepared(test: Test, generation: Generation, change: (config: string) => string = (config) => config) {
  const base = shortFolder(test)
  const runner = rehearsalRunner({ connect: connectCri, baseFolder: base })
  const scratch = await runner.scratch()
  await scratch.write('config.toml', Buffer.from(change(sanitisedConfig(generation, scratch.folder))))
  const start = (more: Partial<Parameters<typeof runner.start>[0]> = {}) =>
    runner.start({
      binary: join(generation.bin, 'containerd'),
      scratch,
      environment: { PATH: '/usr/bin:/bin' },
      timeoutMs: 10_000,
      ...more,
    })
  return { base, runner, scratch, start }
}

/** A program that stands in for a containerd that misbehaves. */
function program(test: Test, script: string): string {
  const path = join(shortFolder(test), 'containerd')
  writeFileSync(path, `#!/bin/sh\n${script}\n`)
  chmodSync(path, 0o755)
  return path
}

function processesBelow(folder: string): readonly string[] {
  return readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(folder)
    } catch {
      return false
    }
  })
}

const all = generations()
t.ok(all.length > 0, 'there is a containerd to test with')

for (const generation of all) {
  t.test(`containerd ${generation.label}`, async (t) => {
    t.test('runs privately, without any capability, answers CRI, and leaves nothing', async (t) => {
      const { base, scratch, start } = await prepared(t, generation)
      const daemon = await start()
      if (!daemon.started) return t.fail(daemon.reason)
      t.match(await daemon.cri.version({ timeoutMs: 1000 }), { runtimeVersion: generation.version })
      t.match(await daemon.cri.status({ timeoutMs: 1000 }), { runtimeReady: true })
      t.match(await daemon.cri.pullImage('127.0.0.1:1/probe:none', { timeoutMs: 3000 }), {
        ok: false,
        text: /connection refused/,
      })
      const [info] = await processes().listeningOn(join(scratch.folder, 'c.sock'))
      const status = readFileSync(`/proc/${info?.pid}/status`, 'utf8')
      for (const set of ['CapPrm', 'CapEff', 'CapBnd', 'CapInh']) t.match(status, new RegExp(`${set}:\\s*0+\\n`), set)
      t.match(status, /NoNewPrivs:\s*1/)
      t.equal(statSync(scratch.folder).mode & 0o777, 0o700)
      await daemon.stop()
      t.same(processesBelow(scratch.folder), [])
      await scratch.dispose()
      return t.same(readdirSync(base), [])
    })

    t.test('tells in its own words why it refuses a configuration', async (t) => {
      const { scratch, start } = await prepared(
        t,
        generation,
        (config) =>
          `${config}[plugins."${generation.expected.registryPlugin}".registry.mirrors."r.test"]\nendpoint = ["https://r.test"]\n`,
      )
      const daemon = await start()
      t.match(daemon, {
        started: false,
        reason: /load required plugin .*`mirrors` cannot be set when `config_path` is provided/,
      })
      t.same(processesBelow(scratch.folder), [])
    })

    t.test('tells why it cannot read broken TOML', async (t) => {
      const { start } = await prepared(t, generation, (config) => `${config}\n[broken`)
      t.match(await start(), { started: false, reason: /toml/i })
    })

    t.test('tells that CRI is not loaded where the configuration does not require it', async (t) => {
      const { scratch, start } = await prepared(
        t,
        generation,
        (config) =>
          `${config.replace(/^required_plugins.*$/m, '')}[plugins."${generation.expected.registryPlugin}".registry.mirrors."r.test"]\nendpoint = ["https://r.test"]\n`,
      )
      t.match(await start(), { started: false, reason: /failed to load plugin.*`mirrors` cannot be set/ })
      t.same(processesBelow(scratch.folder), [])
    })

    t.test('does not disturb another daemon', async (t) => {
      const folder = shortFolder(t)
      const live = await startContainerd(t, generation, folder, sanitisedConfig(generation, folder))
      const cri = connectCri(live.socket)
      t.teardown(() => cri.close())
      await untilCriAnswers(cri)
      const { start } = await prepared(t, generation)
      const daemon = await start()
      if (daemon.started) await daemon.stop()
      t.equal(daemon.started, true)
      t.same(
        (await processes().listeningOn(live.socket)).map(({ pid }) => pid),
        [live.pid()],
      )
      t.match(await cri.status({ timeoutMs: 1000 }), { runtimeReady: true })
    })

    t.test('dies with the agent, however the agent dies', async (t) => {
      const base = shortFolder(t)
      const config = sanitisedConfig(generation, 'SCRATCH')
      const agent = spawn(process.execPath, [SCRIPT, join(generation.bin, 'containerd'), base, config], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      const [said] = await once(agent.stdout, 'data')
      t.equal(String(said), 'started\n')
      t.ok(processesBelow(`${base}/registry-trust-`).length > 0)
      agent.kill('SIGKILL')
      await until(() => processesBelow(`${base}/registry-trust-`).length === 0)
      t.same(processesBelow(`${base}/registry-trust-`), [])
    })
  })
}

const [generation] = all
if (generation === undefined) throw new Error('no containerd')

t.test('trouble that says nothing about the configuration is REHEARSAL_UNAVAILABLE', async (t) => {
  for (const [what, script, why] of [
    [
      'a missing library',
      'echo "containerd: error while loading shared libraries: libx.so: cannot open" >&2; exit 127',
      /loading shared libraries/,
    ],
    [
      'a newer libc',
      'echo "$0: /lib/libc.so.6: version \\`GLIBC_2.99\' not found (required by $0)" >&2; exit 1',
      /GLIBC_2.99/,
    ],
    ['no space', 'echo "containerd: mkdir /x: no space left on device" >&2; exit 1', /no space left/],
    ['no right', 'echo "containerd: open /etc/x: permission denied" >&2; exit 1', /permission denied/],
    ['being killed', 'kill -9 $$', /ended by SIGKILL \(out of memory\?\)/],
    ['silence', 'exit 3', /exit 3: it printed nothing/],
    [
      'an end after it told its whole configuration',
      `echo 'time="x" level=info msg="Start cri plugin with config {Auths:map[https://h:{Password:hunter2}]}"' >&2; exit 3`,
      /: exit 3: it reported no error$/,
    ],
    ['a crash', 'echo "fatal error: runtime: out of memory" >&2; exit 2', /out of memory/],
  ] as const) {
    t.test(what, async (t) => {
      const { scratch, start } = await prepared(t, generation)
      await t.rejects(start({ binary: program(t, script) }), { code: 'REHEARSAL_UNAVAILABLE', message: why })
      t.same(processesBelow(scratch.folder), [])
    })
  }

  t.test('a binary that is not there', async (t) => {
    const { start } = await prepared(t, generation)
    await t.rejects(start({ binary: '/none/containerd' }), {
      code: 'REHEARSAL_UNAVAILABLE',
      message: /private copy of \/none\/containerd: .*No such file/,
    })
  })

  t.test('no answer in time', async (t) => {
    const { scratch, start } = await prepared(t, generation)
    const started = performance.now()
    await t.rejects(start({ binary: program(t, 'echo still loading >&2; exec sleep 60'), timeoutMs: 200 }), {
      code: 'REHEARSAL_UNAVAILABLE',
      message: /did not answer within 200 ms: still loading/,
    })
    t.ok(performance.now() - started < 10_000)
    t.same(processesBelow(scratch.folder), [])
  })

  t.test('too much memory', async (t) => {
    const { start } = await prepared(t, generation)
    const hog = `exec ${process.execPath} -e 'const all = []; setInterval(() => all.push(Buffer.alloc(32 << 20, 1)), 5)'`
    await t.rejects(start({ binary: program(t, hog) }), {
      code: 'REHEARSAL_UNAVAILABLE',
      message: /more than 256 MiB of memory/,
    })
  })
})

t.test('a copy that ignores SIGTERM is killed with its helpers all the same', async (t) => {
  const { scratch, start } = await prepared(t, generation)
  const stubborn = program(t, `trap "" TERM; echo stubborn >&2; sleep 60; sleep 60`)
  const started = performance.now()
  await t.rejects(start({ binary: stubborn, timeoutMs: 100 }), { code: 'REHEARSAL_UNAVAILABLE' })
  const took = performance.now() - started
  t.ok(took < 10_000, `${took} ms`)
  t.same(processesBelow(scratch.folder), [])
})

t.test('what the copy has started in a session of its own holds up nobody, although it holds its stderr', async (t) => {
  const { base, start } = await prepared(t, generation)
  const pidFile = join(base, 'left-behind')
  const leaving = `setsid sh -c 'echo $$ >${pidFile}; exec sleep 60' & while [ ! -s ${pidFile} ]; do :; done;`
  const killed = () => process.kill(Number(readFileSync(pidFile, 'utf8')), 'SIGKILL')
  const began = performance.now()
  const daemon = await start({ binary: program(t, `${leaving} exec ${join(generation.bin, 'containerd')} "$@"`) })
  t.ok(daemon.started)
  if (daemon.started) await daemon.stop()
  t.ok(killed(), 'it still ran')
  writeFileSync(pidFile, '')
  await t.rejects(start({ binary: program(t, `${leaving} echo "out of luck" >&2; exit 1`) }), {
    code: 'REHEARSAL_UNAVAILABLE',
    message: /out of luck/,
  })
  t.ok(killed(), 'it still ran')
  const took = performance.now() - began
  t.ok(took < 20_000, `${Math.round(took)} ms`)
})

t.test('the signal ends it with its reason', async (t) => {
  const { scratch, start } = await prepared(t, generation)
  const abort = new AbortController()
  const starting = start({ binary: program(t, 'exec sleep 60'), signal: abort.signal })
  setTimeout(() => abort.abort(new Error('the agent stops')), 20)
  await t.rejects(starting, { message: 'the agent stops' })
  t.same(processesBelow(scratch.folder), [])
})

t.test('the scratch folder', async (t) => {
  t.test('takes files of root alone and refuses paths that lead out', async (t) => {
    const { base, scratch } = await prepared(t, generation)
    await scratch.write('certs.d/h.test/ca.crt', Buffer.from('CA'))
    t.equal(readFileSync(join(scratch.folder, 'certs.d/h.test/ca.crt'), 'utf8'), 'CA')
    t.equal(statSync(join(scratch.folder, 'certs.d/h.test/ca.crt')).mode & 0o777, 0o600)
    for (const path of ['../x', 'a/../../x', '.', '']) {
      await t.rejects(scratch.write(path, Buffer.from('x')), { code: 'FILE_OUTSIDE_TARGET' }, path)
    }
    t.same(readdirSync(base).length, 1)
  })

  t.test('is refused where its sockets would not fit', async (t) => {
    const base = join(shortFolder(t), 'x'.repeat(90))
    await t.rejects(rehearsalRunner({ connect: connectCri, baseFolder: base }).scratch(), {
      code: 'REHEARSAL_UNAVAILABLE',
      message: /too long for a unix socket/,
    })
    t.same(readdirSync(base), [])
  })

  t.test('of an agent that died is removed later, nothing else is', async (t) => {
    const { base, runner, scratch } = await prepared(t, generation)
    const old = new Date(Date.now() - 3_600_000)
    const others = ['rt-abcdef', 'other', 'registry-trust-toolong', 'registry-trust-public']
    for (const name of ['registry-trust-abcdef', ...others]) {
      mkdirSync(join(base, name), { mode: name.endsWith('public') ? 0o755 : 0o700 })
      writeFileSync(join(base, name, 'x'), 'x')
      utimesSync(join(base, name), old, old)
    }
    const second = await runner.scratch()
    t.notOk(existsSync(join(base, 'registry-trust-abcdef')))
    for (const name of others) t.ok(existsSync(join(base, name, 'x')), name)
    t.ok(existsSync(scratch.folder), 'a young one may be in use')
    t.not(second.folder, scratch.folder)
  })
})

t.test('finds what containerd meant among what it wrote', async (t) => {
  const warning =
    'time="2026-11-21T00:00:00Z" level=warning msg="skip loading plugin" error="devmapper: operation not permitted"'
  const failed =
    'time="2026-11-21T00:00:00Z" level=warning msg="failed to load plugin io.containerd.grpc.v1.cri" error="invalid plugin config: `mirrors` cannot be set"'
  t.equal(refusalOf(`${warning}\ncontainerd: load required plugin x: y\n`), 'load required plugin x: y')
  t.equal(
    refusalOf(`${warning}\n${failed}\n${warning}`),
    'failed to load plugin io.containerd.grpc.v1.cri: invalid plugin config: `mirrors` cannot be set',
  )
  t.equal(refusalOf(`${warning}\n`), undefined)
  t.equal(
    isOwnTrouble(`${warning}\ncontainerd: load required plugin x: y\n`),
    false,
    'a warning on the way is no trouble',
  )
  t.equal(isOwnTrouble('containerd: mkdir /run: read-only file system'), true)
})
