// `lint` over the files that were written for it: it finds every insecure line and nothing else, and says the same as
// SARIF.
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import t, { type Test } from 'tap'
import { lintPaths } from '../../agent/cli/commands/lint.ts'
import { sarif } from '../../agent/lint/sarif.ts'
import { inputFiles } from '../../agent/node/files/input-files.ts'
import { INSECURE } from '../fixtures/lint/insecure.ts'
import { SECURE } from '../fixtures/lint/secure.ts'

function written(t: Test, files: { readonly [name: string]: string }): string {
  const folder = t.testdir({})
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), text)
  }
  return folder
}

t.test('recall: every line that switches verification off is found, and no other of those files', async (t) => {
  t.ok(Object.keys(INSECURE).length >= 60)
  const folder = written(t, Object.fromEntries(Object.entries(INSECURE).map(([name, [text]]) => [name, text])))
  const { findings } = await lintPaths([folder], inputFiles({ freshMs: 0 }))
  for (const [name, [text, ...lines]] of Object.entries(INSECURE)) {
    const found = findings.filter(({ file }) => relative(folder, file) === name)
    t.same([...new Set(found.map(({ line }) => line))], lines, `${name}\n${text}`, { found })
  }
})

t.test('precision: nothing is found where verification stays on', async (t) => {
  t.ok(Object.keys(SECURE).length >= 60)
  const folder = written(t, SECURE)
  const { findings } = await lintPaths([folder], inputFiles({ freshMs: 0 }))
  for (const [name, text] of Object.entries(SECURE))
    t.same(
      findings.filter(({ file }) => relative(folder, file) === name),
      [],
      `${name}\n${text}`,
    )
})

t.test('SARIF has a rule and a place for each finding', async (t) => {
  const folder = written(t, { 'a b.sh': 'curl -k https://a\nwget --no-check-certificate https://a\n' })
  const { findings } = await lintPaths([folder], inputFiles({ freshMs: 0 }))
  const { version, runs } = JSON.parse(JSON.stringify(sarif(findings, '1.2.3')))
  t.equal(version, '2.1.0')
  t.match(runs[0].results, [
    {
      ruleId: 'curl-insecure',
      ruleIndex: 0,
      locations: [{ physicalLocation: { region: { startLine: 1, startColumn: 6 } } }],
    },
    { ruleId: 'wget-no-check', ruleIndex: 1 },
  ])
  t.match(runs[0].results[0].locations[0].physicalLocation.artifactLocation.uri, /a%20b\.sh$/)
  t.same(
    runs[0].tool.driver.rules.map(({ id }: { id: string }) => id),
    ['curl-insecure', 'wget-no-check'],
  )
})
