// The agent's edit comes out of a text that others changed since, and theirs stays.
import fc from 'fast-check'
import t from 'tap'
import { withoutOurs } from '../../agent/restart/without-ours.ts'

const lines = fc.array(fc.stringMatching(/^[a-z]{1,3} = [0-9]$/), { minLength: 1, maxLength: 8 })
const textOf = (all: readonly string[]) => all.map((line) => `${line}\n`).join('')

t.test('what others added before or after stays', async (t) => {
  fc.assert(
    fc.property(lines, fc.nat(8), lines, lines, (old, at, ours, theirs) => {
      const where = Math.min(at, old.length)
      const own = ours.map((line) => `ours_${line}`)
      const after = textOf([...old.slice(0, where), ...own, ...old.slice(where)])
      const head = textOf(theirs.map((line) => `theirs_${line}`))
      const before = textOf(old)
      // Right where the agent wrote, nobody can tell whose line is whose; what comes out is theirs as a whole or
      // nothing.
      const result = withoutOurs({ before, after, now: `${head}${after}` })
      return result === `${head}${before}` || (result === undefined && where === 0)
    }),
  )
  t.pass('for any texts')
})

t.test('the same place changed by both cannot be told apart', async (t) => {
  t.equal(withoutOurs({ before: 'a\n', after: 'b\n', now: 'c\n' }), undefined)
  t.equal(withoutOurs({ before: 'a\n', after: 'a\nb\n', now: 'a\n' }), 'a\n', 'taken out by somebody else already')
})
