import { execFileSync } from 'node:child_process'
import t from 'tap'
import { tarOf } from '../../agent/text/tar.ts'

const AT = Date.UTC(2026, 10, 26, 12, 0, 0)

t.test('GNU tar reads every name, size and byte, and finds nothing to warn of', async (t) => {
  const files = new Map([
    ['folder/empty', ''],
    ['folder/one-block', 'x'.repeat(512)],
    ['folder/more', `${'y'.repeat(513)}\n`],
    [`folder/${'n'.repeat(93)}`, 'a name of 100 bytes'],
  ])
  const archive = tarOf(
    [...files].map(([name, text]) => ({ name, bytes: Buffer.from(text) })),
    AT,
  )
  const tar = (...args: readonly string[]) =>
    execFileSync('tar', [...args, '--file=-'], { input: archive, encoding: 'utf8', env: { TZ: 'UTC' } })
  t.same(tar('--list').split('\n').filter(Boolean), [...files.keys()])
  t.match(tar('--list', '--verbose'), /^-rw------- root\/root +0 2026-11-26 12:00 folder\/empty$/m)
  for (const [name, text] of files) t.equal(tar('--extract', '--to-stdout', name), text, name)
})

t.test('a name that does not fit is refused', async (t) => {
  t.throws(() => tarOf([{ name: 'n'.repeat(101), bytes: Buffer.from('') }], AT), RangeError)
})
