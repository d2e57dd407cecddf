import t from 'tap'
import { nearest } from '../../agent/text/did-you-mean.ts'

t.test('finds what was probably meant, and keeps silent where nothing is near', async (t) => {
  const table: readonly (readonly [string, readonly string[], string | undefined])[] = [
    ['staus', ['status', 'plan'], 'status'],
    ['stauts', ['status', 'plan'], 'status'],
    ['Plan', ['status', 'plan'], 'plan'],
    ['aply', ['apply', 'plan'], 'apply'],
    ['destroy', ['status', 'apply'], undefined],
    ['x', ['status'], undefined],
    ['', ['a'], 'a'],
    ['status', [], undefined],
    ['harbour.example.net', ['harbor.example.net', 'registry.example.net'], 'harbor.example.net'],
    ['x'.repeat(100_000), ['status'], undefined],
  ]
  for (const [word, candidates, expected] of table) t.equal(nearest(word, candidates), expected, word.slice(0, 30))
})
