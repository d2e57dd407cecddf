// The diffs of `plan --diff`, judged by the programs that everybody else uses: patch makes the second file of the first
// and the diff, and the diff is no longer than that of diff.
import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { unifiedDiff } from '../../agent/text/unified-diff.ts'

const folder = t.testdir({})
const [BEFORE, AFTER, DIFF] = ['before', 'after', 'diff'].map((name) => join(folder, name)) as [string, string, string]

function patched(before: string, diff: string): string {
  writeFileSync(BEFORE, before)
  writeFileSync(DIFF, `--- before\n+++ after\n${diff}`)
  execFileSync('patch', ['--quiet', '--fuzz=0', '--posix', BEFORE, DIFF])
  return readFileSync(BEFORE, 'utf8')
}

function changedLines(diff: string): number {
  return diff.split('\n').filter((line) => /^[+-](?!\+\+ |-- )/.test(line)).length
}

function diffOfDiff(before: string, after: string): string {
  writeFileSync(BEFORE, before)
  writeFileSync(AFTER, after)
  const { stdout } = spawnSync('diff', ['--minimal', '-u', BEFORE, AFTER], { encoding: 'utf8' })
  return stdout.split('\n').slice(2).join('\n')
}

t.test('as diff writes them', async (t) => {
  const numbers = Array.from({ length: 20 }, (_, index) => `${index}\n`)
  const cases: readonly (readonly [string, string])[] = [
    ['', 'a\n'],
    ['a\n', ''],
    ['a\nb\n', 'a\nb'],
    ['a', 'a\n'],
    [numbers.join(''), numbers.with(9, 'x\n').join('')],
    [numbers.join(''), numbers.with(1, 'x\n').with(17, 'y\n').join('')],
    [numbers.join(''), [...numbers, 'end'].join('')],
  ]
  for (const [before, after] of cases) t.equal(unifiedDiff(before, after), diffOfDiff(before, after))
  t.equal(unifiedDiff('a\n', 'a\n'), '')
})

t.test('patch makes the one of the other, in as few lines as diff', async (t) => {
  const lines = fc.array(fc.constantFrom('a', 'b', 'c', '', '+x', '- y', '\\ z'), { maxLength: 24 })
  const text = fc
    .tuple(lines, fc.boolean())
    .map(([all, isWhole]) => all.map((line) => `${line}\n`).join('') + (isWhole ? '' : 'end'))
  fc.assert(
    fc.property(text, text, (before, after) => {
      fc.pre(before !== after && before !== '' && after !== '')
      const diff = unifiedDiff(before, after)
      return patched(before, diff) === after && changedLines(diff) <= changedLines(diffOfDiff(before, after))
    }),
    { numRuns: 60 },
  )
  t.pass()
})

t.test('two large files without a line in common take no time', async (t) => {
  const many = (letter: string) => Array.from({ length: 5_000 }, (_, index) => `${letter}${index}\n`).join('')
  const started = performance.now()
  t.equal(changedLines(unifiedDiff(many('a'), many('b'))), 10_000)
  t.ok(performance.now() - started < 2_000)
})
