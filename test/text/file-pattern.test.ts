import t from 'tap'
import { isPattern, matcherOf } from '../../agent/text/file-pattern.ts'

// The answers of Go's filepath.Match.
t.test('matches names as Go does', async (t) => {
  const table: readonly (readonly [string, string, boolean | undefined])[] = [
    ['*.toml', 'a.toml', true],
    ['*.toml', 'atoml', false],
    ['[^a]*.toml', 'b.toml', true],
    ['[^a]*.toml', 'a.toml', false],
    ['[^a-c]?.toml', 'bx.toml', false],
    ['[!a]*.toml', '!.toml', true],
    ['[!a]*.toml', 'b.toml', false],
    ['[a-c].toml', 'b.toml', true],
    ['[c-a].toml', 'b.toml', false],
    ['[\\]a].toml', '].toml', true],
    ['[\\-x].toml', '-.toml', true],
    ['\\*.toml', '*.toml', true],
    ['\\*.toml', 'a.toml', false],
    ['a?c', 'a/c', false],
    ['a+b(c).toml', 'a+b(c).toml', true],
    ['[', 'a', undefined],
    ['[]a]', ']', undefined],
    ['[-]', '-', undefined],
    ['[x-]', 'x', undefined],
    ['a[', 'a', undefined],
    ['\\', '\\', undefined],
    ['ä?.toml', 'äö.toml', true],
  ]
  for (const [pattern, name, expected] of table) t.equal(matcherOf(pattern)?.test(name), expected, `${pattern} ${name}`)
})

t.test('knows which paths are patterns', async (t) => {
  t.same(['a.toml', 'a*', 'a?', '[a]', 'a\\b'].map(isPattern), [false, true, true, true, true])
})
