import { stripVTControlCharacters } from 'node:util'
import t from 'tap'
import { formatFleet, isFleetWell, isUnderWay, progressLines } from '../../../agent/cli/output/fleet.ts'
import { coloured } from '../../../agent/cli/output/terminal.ts'
import { fleetReport } from '../../../agent/fleet/report/report.ts'
import { joinPages, readFleetReport } from '../../../agent/fleet/report/report-text.ts'
import type { FleetPicture } from '../../../agent/fleet/state/picture.ts'
import { NEW_RECORD } from '../../../agent/fleet/state/record.ts'
import { DEFAULT_FLEET } from '../../../agent/model/fleet.ts'
import { lineOf, rollingOut, WELL } from '../../fixtures/fleet/pictures.ts'

const reportOf = (picture: FleetPicture, offset = 0, limit = 50) =>
  fleetReport(picture, DEFAULT_FLEET.rollout, { offset, limit })

const allWell = (count: number): FleetPicture => {
  const lines = Array.from({ length: count }, (_, index) => lineOf(`n${index}`, { ...WELL, node: `n${index}` }))
  return { isLeading: true, isSynced: true, config: 'c', lines, nodes: [], record: NEW_RECORD, halted: undefined }
}

t.test('a small fleet that is well is one sentence and its nodes', async (t) => {
  t.equal(
    formatFleet(reportOf(allWell(3)), {}),
    `All 3 nodes trust every declared registry.

NODE  STATE    ZONE  GENERATION    AGENT  WHY
n0    trusted  a     ${WELL.generation}  ${WELL.version}
n1    trusted  a     ${WELL.generation}  ${WELL.version}
n2    trusted  a     ${WELL.generation}  ${WELL.version}
`,
  )
  t.ok(isFleetWell(reportOf(allWell(3))))
  t.notOk(isUnderWay(reportOf(allWell(3))))
})

for (const count of [3, 300, 5000])
  t.test(
    `with ${count} nodes the sentence comes first, then the roll-out, then what is wrong, worst first`,
    async (t) => {
      const report = reportOf(rollingOut(count))
      const text = formatFleet(report, {})
      const lines = text.split('\n')
      const sick = 2 * Math.ceil(count / 100)
      t.equal(lines[0], `${sick} of ${count} nodes are not healthy.`)
      t.match(text, /^bbbbbbbbbbbb {2}█*░+ {2}\d+ of \d+ done, 1 restarting/m)
      t.match(text, /harbor\.example\.net {2}unknown-authority/)
      t.ok(lines.length < 70, `${lines.length} lines`)
      const states = lines.filter((line) => line.startsWith('node-')).map((line) => line.split(/\s+/)[1])
      t.equal(states[0], 'untrusted')
      if (count > 50) t.notOk(states.includes('trusted'), 'what is as wanted is counted, not listed')
      if (count > 50) t.match(text, /^\d+ more nodes \(--json lists all of them\)$/m)
      t.notOk(isFleetWell(report))
    },
  )

t.test('on a terminal no line is longer than it is wide, with colour or without', async (t) => {
  for (const [width, paint] of [
    [40, undefined],
    [60, coloured],
  ] as const) {
    const text = formatFleet(reportOf(rollingOut(300)), { width, ...(paint !== undefined && { paint }), rows: 10 })
    for (const line of text.split('\n')) {
      const shown = stripVTControlCharacters(line)
      t.ok([...shown].length <= width, shown)
      t.equal((line.split('\u001b[').length - 1) % 2, 0, 'a colour that begins ends')
    }
  }
})

t.test('a halt is said first, and the bar stops', async (t) => {
  const text = formatFleet(reportOf(rollingOut(300, 'one node failed (n1)')), {})
  t.match(text, /^The roll-out is halted: one node failed \(n1\)\.\n/)
  t.match(text, /done, halted, 1 failed$/m)
})

t.test('a change that not every node has is a line too, and full only at the end', async (t) => {
  const picture = allWell(1000)
  const lines = picture.lines.map((line, index) =>
    index === 0 ? { ...line, facts: { ...line.facts, isCurrent: false }, state: 'waiting' as const } : line,
  )
  const report = reportOf({ ...picture, lines })
  t.match(progressLines(report), /^told {10}█{29}░ {2}999 of 1000 have answered for the configuration in force\n$/)
  t.ok(isUnderWay(report))
})

t.test('nothing that a node says moves the cursor', async (t) => {
  const untrusted = [{ host: 'a\u001b[2Jb', code: 'x\ny' }]
  const lines = [lineOf('n1', { ...WELL, node: 'n1', untrusted })]
  const text = formatFleet(reportOf({ ...allWell(0), lines }), {})
  t.notMatch(text, '\u001b')
  t.match(text, 'x y')
})

t.test('pages are read as one report, and what is no report is none', async (t) => {
  const picture = rollingOut(300)
  const [first, second, third] = [0, 100, 199].map((offset) => readFleetReport(reportOf(picture, offset, 101)))
  if (first === undefined || second === undefined || third === undefined) return t.fail('a report is one')
  t.equal(joinPages(first, [second, third]).nodes.length, 300, 'each node once, although the pages overlap')
  for (const other of [null, [], {}, { ...first, nodes: [{}] }, { ...first, rollout: {} }, { ...first, totals: 1 }])
    t.equal(readFleetReport(other), undefined)
})
