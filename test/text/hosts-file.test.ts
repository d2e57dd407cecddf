// The edit of /etc/hosts, on generated files: nothing but the agent's lines changes, and it comes out without a trace.
// What a name means there is judged by glibc's own reader: hosts-file-glibc.test.ts.
import fc from 'fast-check'
import t from 'tap'
import { canonicalAddress, entriesNaming, withNames, withoutNames } from '../../agent/text/hosts-file.ts'
import { hostsFile, MARK, NAME } from '../fixtures/text/hosts-file.ts'

const wanted = fc.subarray(['10.0.0.1', '10.0.0.5', '2001:db8::1'], { minLength: 1 }).map((addresses) => [
  { name: NAME, addresses },
  { name: 'b.example.net', addresses: ['10.0.0.8'] },
])

t.test(
  'every other byte stays, a second edit changes nothing, and taking the lines out gives the file back',
  async () => {
    fc.assert(
      fc.property(hostsFile, wanted, wanted, (before, first, second) => {
        const edited = withNames(before, first)
        const ours = edited
          .split('\n')
          .filter((one) => one.trimEnd().endsWith(MARK) && !before.split('\n').includes(one))
        if (ours.length !== first.flatMap(({ addresses }) => addresses).length) return false
        if (withNames(edited, first) !== edited) return false
        if (withNames(edited, second) !== withNames(before, second)) return false
        return withoutNames(edited) === before && withoutNames(before) === before
      }),
      { numRuns: 1000 },
    )
  },
)

t.test('lines go to the end, before a last line without a line end, and take over its CR', async (t) => {
  const edit = (before: string) => withNames(before, [{ name: 'a', addresses: ['10.0.0.1'] }])
  t.equal(edit(''), `10.0.0.1 a ${MARK}\n`)
  t.equal(edit('::1 b\n'), `::1 b\n10.0.0.1 a ${MARK}\n`)
  t.equal(edit('::1 b'), `10.0.0.1 a ${MARK}\n::1 b`)
  t.equal(edit('::1 b\r\n'), `::1 b\r\n10.0.0.1 a ${MARK}\r\n`)
})

t.test('a line of the agent to which somebody has added a name is theirs', async (t) => {
  const theirs = `10.0.0.1 a b ${MARK}\n`
  t.match(entriesNaming(theirs, new Set(['a'])), [{ line: 1, address: '10.0.0.1', names: ['a', 'b'], isOurs: false }])
  t.equal(withoutNames(theirs), theirs)
})

t.test('an address has one spelling', async (t) => {
  t.equal(canonicalAddress('2001:DB8:0:0:0:0:0:1'), '2001:db8::1')
  for (const wrong of ['', '10.0.0', '010.0.0.1', '10.0.0.1:5000', '[::1]', '10.0.0.0/8', 'a'])
    t.equal(canonicalAddress(wrong), undefined, wrong)
})

t.test('a list of 150,000 blocked hosts is read within 100 ms', async (t) => {
  const list = Array.from({ length: 150_000 }, (_, index) => `0.0.0.0 ads${index}.example.org`).join('\n')
  const began = performance.now()
  t.same(entriesNaming(list, new Set([NAME])), [])
  t.ok(performance.now() - began < 100, `${performance.now() - began} ms`)
})
