// The documents say what is so: the table of keys is that of the schema, every example of trust.yaml is accepted, every
// file and every command that they name is there.
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { parseCommandLine } from '../../agent/cli/command-line/args.ts'
import { loadDesiredState } from '../../agent/config/load.ts'
import { DEPRECATIONS } from '../../agent/containerd/deprecations.ts'
import { ERRORS } from '../../agent/model/errors.ts'
import { FINDINGS } from '../../agent/model/finding.ts'
import { ADVISORY_KINDS, DRIFT_KINDS } from '../../agent/model/plan.ts'
import { inputFiles } from '../../agent/node/files/input-files.ts'
import { apiReference } from '../../scripts/api-reference.ts'
import { codePages } from '../../scripts/code-pages.ts'
import { withReference } from '../../scripts/config-reference.ts'
import { measuredPages, quoting } from '../../scripts/measured-pages.ts'
import { ANCHORS, fencedTrust, inlineTrust, pages } from '../fixtures/deploy/documented-yaml.ts'
import { createAuthority } from '../fixtures/node/certificates.ts'
import { findGenerations } from '../fixtures/node/generations.ts'

const ROOT = join(import.meta.dirname, '../..')
const DOCS = pages()

function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8')
}

/** Fenced blocks of a language. */
function blocks(text: string, language: string): readonly string[] {
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, 'gm'))].map((match) => match[1] ?? '')
}

t.test('the table of keys in docs/config.md is the one of the schema', async (t) => {
  const document = read('docs/config.md')
  t.equal(document, withReference(document), 'otherwise run: node scripts/config-reference.ts')
})

t.test('docs/api.md is what the agent serves as /openapi.json', async (t) => {
  t.equal(read('docs/api.md'), apiReference(), 'otherwise run: node scripts/api-reference.ts')
})

t.test('every example of trust.yaml is accepted, also a piece of one', async (t) => {
  const examples = fencedTrust()
  t.ok(examples.length >= 3, `${examples.length} examples`)
  for (const { path, shown, text } of examples) t.same(await problemsOf(t, text), [], `${path}: ${shown}`)
})

t.test('every setting in a sentence is accepted where its key can stand', async (t) => {
  const settings = inlineTrust()
  t.ok(settings.length >= 10, `${settings.length} settings`)
  for (const { path, shown, wholes } of settings) {
    const refused: (readonly unknown[])[] = []
    for (const text of wholes) refused.push(await problemsOf(t, text))
    t.ok(
      refused.some((problems) => problems.length === 0),
      `${path}: ${shown}: ${JSON.stringify(refused)}`,
    )
  }
})

/** What the product says to this trust.yaml, with the files that the pages name beside it. */
async function problemsOf(t: Test, text: string): Promise<readonly unknown[]> {
  const folder = t.testdir({ 'trust.yaml': text })
  const authority = await createAuthority(folder, 'Example Root')
  for (const name of ANCHORS) writeFileSync(join(folder, `${name}.pem`), authority.pem)
  return (await loadDesiredState({ paths: [folder], files: inputFiles({ freshMs: 0 }), now: Date.now() })).problems
}

t.test('every quoted number is the one that was measured', async (t) => {
  for (const [path, page] of measuredPages()) t.equal(read(path), page, 'otherwise run: node scripts/measured-pages.ts')

  const one = { median: 2.5, min: 1, p95: 4, n: 3, date: '2026-11-26', command: 'c', node: '24', yardstickMs: 30 }
  const values = ['1.7.24', '2.1.9'].map((on) => ({ ...one, id: 'gap', name: 'the gap', on, unit: 'ms' }))
  const measured = { machine: { cores: 2, memoryGiB: 8, system: 'Debian' }, values }
  const quoted = (asked: string) => quoting(`a <!-- measured: ${asked} -->old<!-- /measured --> b`, measured)
  t.equal(quoted('gap@2.1.9'), 'a <!-- measured: gap@2.1.9 -->2.5 ms<!-- /measured --> b')
  t.equal(quoted('gap@2.1.9 p95'), 'a <!-- measured: gap@2.1.9 p95 -->4 ms<!-- /measured --> b')
  t.equal(quoted('other?'), 'a <!-- measured: other? -->not measured<!-- /measured --> b')
  t.equal(quoted('gap@1.7.24?'), 'a <!-- measured: gap@1.7.24? -->2.5 ms<!-- /measured --> b')
  t.match(quoted('tables'), '| the gap | 2.5 ms [1, 4] | 2.5 ms [1, 4] | 3 |')
  for (const unknown of ['gap', 'gap@9', 'gap@2.1.9 mean', 'other', ''])
    t.throws(() => quoted(unknown), { message: /measured\.json/ }, unknown)
})

t.test('every amount of memory that a page or an alert names is a limit that is shipped', (t) => {
  const manifests = readdirSync(join(ROOT, 'daemonset'), { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.ya?ml$/.test(name) && !name.includes('/templates/'))
    .map((name) => read(`daemonset/${name}`))
  const shipped = new Set(
    manifests.flatMap((text) => [...text.matchAll(/memory: (\d+)Mi/g)].map(([, number]) => number)),
  )
  t.ok(shipped.size >= 4, [...shipped].join(', '))
  const named = DOCS.flatMap((page) => [...read(page).matchAll(/(\d+) ?Mi\b/g)].map(([, number]) => ({ page, number })))
  t.ok(named.length > 0)
  for (const { page, number } of named) t.ok(shipped.has(number), `${page}: ${number}Mi`)
  // The alert of an agent that is down speaks of the agent's own limit.
  const agent = /agent:[\s\S]*?limits: \{ memory: (\d+)Mi/.exec(read('daemonset/chart/values.yaml'))?.[1]
  t.match(read('docs/runbooks/RegistryTrustAgentDown.md'), `${agent}Mi as shipped`)
  t.end()
})

t.test('the first page promises what is so', (t) => {
  const readme = read('README.md')
  const labels = findGenerations().found.filter(({ suite }) => suite !== 'brought')
  const tested = /on real containerd ([\d., and]+?) and on a real/.exec(readme)?.[1]?.split(/, | and /)
  t.same(tested, [...new Set(labels.map(({ label }) => label))], 'the generations that the tests fetch, and no others')
  const sentences = readme.replaceAll('\n', ' ').split(/(?<=[.:]) /)
  for (const sentence of sentences.filter((one) => /verification off/.test(one)))
    t.match(sentence, /the known cures are/, 'what others do is not said of the agent')
  for (const sentence of sentences.filter((one) => /only with your consent/.test(one)))
    t.match(sentence, /`config\.toml`/, 'consent is asked for the edit of config.toml alone')
  t.end()
})

t.test('every error, finding and deprecation has its line on a page, and no page has another', async (t) => {
  for (const [path, page] of codePages()) t.equal(read(path), page, 'otherwise run: node scripts/code-pages.ts')
  const errors = read('docs/errors.md')
  for (const code of Object.keys(ERRORS)) t.ok(errors.includes(`\n| \`${code}\` |`), code)
  for (const code of Object.keys(FINDINGS)) t.ok(read('docs/findings.md').includes(`\n| \`${code}\` |`), code)
  const remedies = Object.values(DEPRECATIONS).map(({ remedy }) => remedy)
  t.equal(new Set(remedies).size, remedies.length, 'each has its own remedy')
})

t.test('the table of docs/drift.md has every kind of drift, and the advice last', async (t) => {
  const kinds = [...read('docs/drift.md').matchAll(/^\| `([a-z-]+)` \|/gm)].map(([, kind]) => kind)
  t.same(kinds, DRIFT_KINDS)
  t.same(kinds.slice(-ADVISORY_KINDS.size), [...ADVISORY_KINDS])
})

t.test('every link leads to something', async (t) => {
  for (const path of DOCS)
    for (const [, target = ''] of read(path).matchAll(/\]\((?!https?:)([^)#]+)[^)]*\)/g))
      t.ok(existsSync(join(ROOT, dirname(path), target)), `${path}: ${target}`)
})

/** What a heading can be linked by: as GitHub makes it. */
function headingsOf(path: string): ReadonlySet<string> {
  const withoutCode = read(path).replaceAll(/^```[\s\S]*?^```/gm, '')
  const slugs = [...withoutCode.matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
    title
      .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(/\s/g, '-'),
  )
  return new Set(slugs)
}

t.test('every link to a part of a page leads to a heading', async (t) => {
  let links = 0
  for (const path of DOCS)
    for (const [, target = '', heading = ''] of read(path).matchAll(/\]\((?!https?:)([^)#\s]*)#([^)\s]+)\)/g)) {
      const page = target === '' ? path : join(dirname(path), target)
      if (!page.endsWith('.md') || !existsSync(join(ROOT, page))) continue
      links += 1
      t.ok(headingsOf(page).has(heading), `${path}: ${target}#${heading}`)
    }
  t.ok(links > 20, `${links} links`)
})

t.test('every path of the repository that is named is there', async (t) => {
  const top = readdirSync(ROOT)
  for (const path of DOCS)
    for (const [, named = ''] of read(path).matchAll(/`((?:agent|daemonset|scripts|test|docs)\/[^`\s*{]*)`/g)) {
      t.ok(top.length > 0 && existsSync(join(ROOT, named)), `${path}: ${named}`)
    }
})

t.test('every command line of registry-trust is one that it takes', async (t) => {
  const lines = DOCS.flatMap((path) =>
    blocks(read(path), 'sh').flatMap((text) => text.replaceAll('\\\n', ' ').split('\n')),
  )
  const commands = lines.flatMap((line) => /^(?:\.\/scripts\/)?registry-trust (.*?)(?:\s+#.*)?$/.exec(line)?.[1] ?? [])
  t.ok(commands.length >= 5, `${commands.length} commands`)
  for (const words of commands) {
    const invocation = parseCommandLine(words.trim().split(/\s+/), {})
    t.ok(invocation.kind === 'run' || invocation.kind === 'help' || invocation.kind === 'version', words)
  }
})

t.test('every script tells with --help how it is used, and then does nothing', async (t) => {
  const scripts = readdirSync(join(ROOT, 'scripts')).filter(
    (name) => (statSync(join(ROOT, 'scripts', name)).mode & 0o111) > 0,
  )
  const programs = scripts.filter((name) => statSync(join(ROOT, 'scripts', name)).isFile() && name !== 'registry-trust')
  t.ok(programs.length > 10, programs.join())
  for (const name of programs) {
    // Without a home, a network or a way to install anything.
    const env = { PATH: process.env['PATH'], HOME: '/nonexistent', http_proxy: 'http://127.0.0.1:1' }
    const { status, stdout } = spawnSync(join(ROOT, 'scripts', name), ['--help'], { encoding: 'utf8', env })
    t.equal(status, 0, name)
    t.match(stdout, /^[A-Zu].{20}/, name)
    t.notMatch(stdout, /^#/m, name)
  }
})

t.test('every kubectl command names a folder that is there', async (t) => {
  for (const path of DOCS)
    for (const [, folder = ''] of read(path).matchAll(
      /kubectl (?:apply|delete|kustomize) (?:-k )?(daemonset\/[^\s`]+)/g,
    ))
      t.ok(existsSync(join(ROOT, folder, 'kustomization.yaml')), `${path}: ${folder}`)
})
