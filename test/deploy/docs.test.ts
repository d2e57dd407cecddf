// The documents say what is so: the table of keys is that of the schema, every example of trust.yaml is accepted, every file and every
// command that they name is there.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { parseCommandLine } from '../../agent/cli/command-line/args.ts'
import { loadDesiredState } from '../../agent/config/load.ts'
import { ADVISORY_KINDS, DRIFT_KINDS } from '../../agent/model/plan.ts'
import { inputFiles } from '../../agent/node/files/input-files.ts'
import { withReference } from '../../scripts/config-reference.ts'
import { createAuthority } from '../fixtures/node/certificates.ts'

const ROOT = join(import.meta.dirname, '../..')
const DOCS = ['config', 'install', 'deployment', 'drift', 'security', 'design', 'logs'].map((name) => `docs/${name}.md`)

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

t.test('every example of trust.yaml is accepted as it stands', async (t) => {
  const examples = DOCS.flatMap((path) => blocks(read(path), 'yaml').map((text) => ({ path, text }))).filter(
    ({ text }) => {
      const value: unknown = parse(text)
      return typeof value === 'object' && value !== null && 'registries' in value
    },
  )
  t.ok(examples.length >= 3, `${examples.length} examples`)
  for (const { path, text } of examples) {
    const folder = t.testdir({ 'trust.yaml': text })
    const authority = await createAuthority(folder, 'Example Root')
    for (const name of ['corp-root.pem', 'next-root.pem'])
      (await import('node:fs')).writeFileSync(join(folder, name), authority.pem)
    const loaded = await loadDesiredState({ paths: [folder], files: inputFiles(), now: Date.now() })
    t.same(loaded.problems, [], `${path}: ${text}`)
  }
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

t.test('every kubectl command names a folder that is there', async (t) => {
  for (const path of DOCS)
    for (const [, folder = ''] of read(path).matchAll(/kubectl (?:apply|delete|kustomize) (?:-k )?(daemonset\/\S+)/g))
      t.ok(existsSync(join(ROOT, folder, 'kustomization.yaml')), `${path}: ${folder}`)
})
