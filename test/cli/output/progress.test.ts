import t from 'tap'
import { progressLine, withProgress } from '../../../agent/cli/output/progress.ts'
import type { LogFields, NodeFiles } from '../../../agent/model/ports.ts'
import type { RunPorts } from '../../../agent/model/run-ports.ts'

/** What a terminal of that many columns shows in its last line, and all lines above that somebody else wrote. */
function terminal() {
  let line = ''
  const above: string[] = []
  return {
    print(text: string) {
      // biome-ignore lint/suspicious/noControlCharactersInRegex: a terminal is told by them
      for (const part of text.split(/(\r\u001b\[2K|\n)/)) {
        if (part === '\n') above.push(line)
        if (part === '\n' || part.startsWith('\r')) line = ''
        else line += part
      }
    },
    line: () => line,
    above,
  }
}

t.test('the line is replaced, never wraps, obeys nothing that stands in a name, and is gone at the end', async (t) => {
  const screen = terminal()
  const line = progressLine(screen.print, () => 20)
  line.show('proving a.example.net…')
  t.equal(screen.line(), 'proving a.example.n')
  line.show('short')
  t.equal(screen.line(), 'short')
  line.show('a\u001b[31m\nb')
  t.equal(screen.line(), 'a\ufffd[31m b')
  line.clear()
  t.equal(screen.line(), '')
  t.same(screen.above, [])
})

t.test('what was never shown is not erased', async (t) => {
  let printed = ''
  progressLine(
    (text) => {
      printed += text
    },
    () => 80,
  ).clear()
  t.equal(printed, '')
})

t.test('the ports do what they are asked, say so before, and a log line does not follow the line', async (t) => {
  const screen = terminal()
  const seen: string[] = []
  const write = (event: string, _fields?: LogFields) => screen.print(`${event}\n`)
  const files = { put: async (path: string) => void seen.push(`${path}: ${screen.line()}`) } as unknown as NodeFiles
  const ports = { files, log: { debug: write, info: write, warn: write, error: write } } as unknown as RunPorts
  const { files: told, log } = withProgress(
    ports,
    progressLine(screen.print, () => 80),
  )
  await told.put('/etc/x', { kind: 'absent' }, { folder: '/etc' })
  t.same(seen, ['/etc/x: writing /etc/x…'])
  log.warn('event')
  t.same(screen.above, ['event'])
})
