// A log that cannot be written costs lines, never the process: real pipes whose reader is gone or does not read, and a
// full device.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync, readSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { lineOutput } from '../../agent/telemetry/line-output.ts'

const LOG = JSON.stringify(new URL('../../agent/telemetry/log.ts', import.meta.url).href)

/** A process that logs 200 lines, says on standard output that it is still there, and ends with 7. */
const PROGRAM = (format: string) => `import { createLog } from ${LOG}
  const log = createLog({ level: 'info', format: '${format}' })
  for (let i = 0; i < 200; i++) log.info('line', { i, filling: 'x'.repeat(100) })
  process.stdout.write('alive')
  process.exitCode = 7`

const argv = (format: string) => ['--input-type=module-typescript', '-e', PROGRAM(format)]

t.test('the reader of the log has gone: the process goes on', async (t) => {
  const child = spawn(process.execPath, argv('json'), { stdio: ['ignore', 'pipe', 'pipe'] })
  child.stderr.destroy()
  const [chunk] = await once(child.stdout, 'data')
  t.equal(String(chunk), 'alive')
  t.same(await once(child, 'exit'), [7, null])
})

t.test('the log is closed, or its disk is full: the process goes on', async (t) => {
  for (const where of ['2>&-', '2>/dev/full'])
    for (const format of ['json', 'text']) {
      const script = `exec "$0" "$@" ${where}`
      const { status, stdout } = spawnSync('sh', ['-c', script, process.execPath, ...argv(format)], {
        encoding: 'utf8',
      })
      t.same([status, stdout], [7, 'alive'], `${where} ${format}`)
    }
})

t.test('what was lost is counted, and told before the next line that passes', async (t) => {
  const file = join(t.testdir(), 'log')
  const fd = openSync('/dev/full', 'w')
  const output = lineOutput({ fd, lostLine: (count) => `lost ${count}\n` })
  for (let i = 0; i < 3; i++) output.write(`${i}\n`)
  // The same number, so that the disk has room again.
  closeSync(fd)
  t.equal(openSync(file, 'w'), fd)
  output.write('3\n')
  output.write('4\n')
  t.equal(readFileSync(file, 'utf8'), 'lost 3\n3\n4\n')
  closeSync(fd)
})

t.test(
  'a full pipe that does not block costs a short wait once, then nothing, and no line is glued to half of another',
  async (t) => {
    const fifo = join(t.testdir(), 'fifo')
    spawnSync('mkfifo', [fifo])
    const reader = openSync(fifo, 'r+')
    // O_WRONLY | O_NONBLOCK
    const writer = openSync(fifo, 0o1 | 0o4000)
    const output = lineOutput({ fd: writer, lostLine: (count) => `lost ${count}\n` })
    const began = Date.now()
    for (let i = 0; i < 400; i++) output.write(`${String(i).padStart(999, '0')}\n`)
    t.ok(Date.now() - began < 10_000, `${Date.now() - began} ms for 400 lines`)
    const drained = Buffer.alloc(1 << 20)
    const first = readSync(reader, drained, 0, drained.length, null)
    output.write('after\n')
    const second = readSync(reader, drained, first, drained.length - first, null)
    const lines = drained.toString('utf8', 0, first + second).split('\n')
    t.match(lines.slice(-3), [/^lost 3\d\d$/, 'after', ''])
    const whole = lines.filter((line) => line.length === 999)
    t.ok(whole.length > 50, `${whole.length} lines before the pipe was full`)
    closeSync(reader)
    closeSync(writer)
  },
)

t.test('the line that tells of lost ones looks like every other', async (t) => {
  const script = `import { closeSync, openSync } from 'node:fs'
    import { createLog } from ${LOG}
    for (const format of ['json', 'text']) {
      const log = createLog({ level: 'error', format, base: { node: 'n1' }, now: () => 0 })
      closeSync(2)
      openSync('/dev/full', 'w')
      log.error('gone')
      closeSync(2)
      openSync(process.argv[1], 'a')
      log.error('there')
    }`
  const file = join(t.testdir(), 'log')
  spawnSync(process.execPath, ['--input-type=module-typescript', '-e', script, file])
  t.same(readFileSync(file, 'utf8').split('\n'), [
    '{"level":"warn","time":"1970-01-01T00:00:00.000Z","node":"n1","count":1,"msg":"log-lines-lost"}',
    '{"level":"error","time":"1970-01-01T00:00:00.000Z","node":"n1","msg":"there"}',
    '1970-01-01T00:00:00.000Z WARN  log-lines-lost node=n1 count=1',
    '1970-01-01T00:00:00.000Z ERROR there node=n1',
    '',
  ])
})
