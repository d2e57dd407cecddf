import { spawnSync } from 'node:child_process'
import t from 'tap'
import type { LogLevel } from '../../agent/model/log-level.ts'
import { createLog, type LogFormat, type Logger } from '../../agent/telemetry/log.ts'

const NOW = Date.parse('2026-11-21T11:00:00.000Z')

function recording(
  format: LogFormat,
  level: LogLevel = 'info',
  base = {},
): { readonly log: Logger; readonly lines: string[] } {
  const lines: string[] = []
  const log = createLog({ level, format, base, now: () => NOW, destination: { write: (line) => lines.push(line) } })
  return { log, lines }
}

t.test('a JSON line holds time, level, event and fields, and nothing else', async (t) => {
  const { log, lines } = recording('json')
  log.info('applied', { target: 'containerd-hosts', changed: 2 })
  t.strictSame(lines, [
    '{"level":"info","time":"2026-11-21T11:00:00.000Z","target":"containerd-hosts","changed":2,"msg":"applied"}\n',
  ])
})

t.test('a text line is for people', async (t) => {
  const { log, lines } = recording('text')
  log.warn('restart due', {
    reason: 'config_path is not loaded',
    changed: 2,
    none: undefined,
    list: ['a', 'b'],
    empty: '',
  })
  log.error('failed')
  t.strictSame(lines, [
    '2026-11-21T11:00:00.000Z WARN  restart due reason="config_path is not loaded" changed=2 list=["a","b"] empty=""\n',
    '2026-11-21T11:00:00.000Z ERROR failed\n',
  ])
})

t.test('text from elsewhere can neither forge a line nor steer the terminal', async (t) => {
  for (const format of ['text', 'json'] as const) {
    const { log, lines } = recording(format)
    log.info('x\nforged\u001b[2J', {
      reason: 'a\n2026 INFO forged\u001b[31m\u009b1m\u202e',
      'na\nme': 1,
      nested: { text: '\u007f\u001b' },
    })
    t.equal(lines.length, 1)
    t.equal(lines[0]?.indexOf('\n'), lines[0] === undefined ? 0 : lines[0].length - 1, `${format}: one line`)
    t.notOk(lines[0]?.includes('\u001b'))
    if (format === 'text') t.notMatch(lines[0]?.trimEnd(), /\p{Cc}|\p{Cf}/u)
  }
})

t.test('what lies below the level is not written, and the level can change while running', async (t) => {
  const { log, lines } = recording('json', 'warn')
  let reads = 0
  const watched = {
    get costly() {
      reads++
      return 1
    },
  }
  log.debug('no', { watched })
  log.info('no', { watched })
  t.strictSame([lines.length, reads], [0, 0])
  log.setLevel('debug')
  t.equal(log.level, 'debug')
  log.debug('yes', { watched })
  t.strictSame([lines.length, reads], [1, 1])
  log.setLevel('error')
  log.warn('no')
  t.equal(lines.length, 1)
})

t.test('secrets are removed from fields and from the event in both formats', async (t) => {
  for (const format of ['text', 'json'] as const) {
    const { log, lines } = recording(format, 'info', { token: 'canary' })
    log.info('pull from https://u:canary@h', {
      password: 'canary',
      deep: [{ auth: 'canary' }],
      header: 'Bearer canary123456',
      error: new Error('Basic Y2FuYXJ5canary'),
    })
    t.notMatch(lines.join(''), /canary/, format)
    t.match(lines.join(''), /redacted/)
  }
})

t.test('a field named like a part of the line does not replace it', async (t) => {
  const { log, lines } = recording('json')
  log.info('event', { level: 'l', msg: 'm', time: 't' })
  t.equal(
    lines[0],
    '{"level":"info","time":"2026-11-21T11:00:00.000Z","level_":"l","msg_":"m","time_":"t","msg":"event"}\n',
  )
})

t.test('with() adds fields to every line and follows the level', async (t) => {
  const { log, lines } = recording('json', 'info', { node: 'n1' })
  const child = log.with({ transaction: 't1' })
  child.info('a', { changed: 1 })
  log.setLevel('error')
  child.info('b')
  t.equal(lines.length, 1)
  t.match(JSON.parse(lines[0] ?? ''), { node: 'n1', transaction: 't1', changed: 1, msg: 'a' })
})

t.test('by default lines go to standard error, complete even when the process ends at once', async (t) => {
  const program = `import { createLog } from ${JSON.stringify(new URL('../../agent/telemetry/log.ts', import.meta.url).href)}
    const log = createLog({ level: 'info', format: 'text' })
    for (let i = 0; i < 200; i++) log.info('line', { i })
    process.exit(3)`
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module-typescript', '-e', program], {
    encoding: 'utf8',
  })
  t.strictSame([status, stdout, stderr.split('\n').length], [3, '', 201])
})
