// docs/design.md tells the truth: its ways through the code exist, step by step, and its rooms are those that there
// are.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'
import t from 'tap'

const ROOT = new URL('../', import.meta.url).pathname
const IMPORT = /^(?:import|export)\b[^'"]*?from '(\.[^']+)'|\bimport\('(\.[^']+)'\)/gm
const STEP = /^\d+\. `(agent\/[^`]+)` [^\n]*?(?:\(handed over by `([^`]+)`\))?$/

type Step = { readonly file: string; readonly handedBy: string | undefined }

function ways(text: string): ReadonlyMap<string, readonly Step[]> {
  const sections = text.split(/^### /m).slice(1)
  return new Map(
    sections.map((section) => {
      const lines = (section.split(/\n## /)[0] ?? '').replaceAll(/\n {3,4}(?=\S)/g, ' ').split('\n')
      const steps = lines.flatMap((line) => {
        const match = STEP.exec(line)
        return match?.[1] === undefined ? [] : [{ file: match[1], handedBy: match[2] }]
      })
      return [lines[0] ?? '', steps]
    }),
  )
}

function importsOf(file: string): readonly string[] {
  if (!existsSync(ROOT + file)) return []
  return [...readFileSync(ROOT + file, 'utf8').matchAll(IMPORT)].map((match) =>
    posix.join(posix.dirname(file), match[1] ?? match[2] ?? ''),
  )
}

function reaches(from: string, to: string): boolean {
  const seen = new Set([from])
  for (const file of seen) for (const next of importsOf(file)) seen.add(next)
  return seen.has(to)
}

/** Why the second step does not follow from the first; undefined: it does. */
function gap(first: Step, { file, handedBy }: Step): string | undefined {
  if (!existsSync(ROOT + file)) return `${file} does not exist`
  if (handedBy === undefined) {
    const isLinked = importsOf(first.file).includes(file) || importsOf(file).includes(first.file)
    return isLinked ? undefined : `neither of ${first.file} and ${file} imports the other`
  }
  const [a, b] = [importsOf(handedBy).includes(first.file), importsOf(handedBy).includes(file)]
  const isHanded = (a || b) && reaches(handedBy, first.file) && reaches(handedBy, file)
  return isHanded ? undefined : `${handedBy} does not hand ${file} to ${first.file}, or the other way round`
}

function gapsOf(steps: readonly Step[]): readonly string[] {
  return steps.slice(1).flatMap((step, index) => gap(steps[index] ?? step, step) ?? [])
}

const DESIGN = readFileSync(`${ROOT}docs/design.md`, 'utf8')

t.test('every way through the code exists, and each step leads to the next', async (t) => {
  const found = ways(DESIGN)
  t.same([...found.keys()], ['One certificate', 'One login', 'One drift event', 'One restart', 'One GET /status'])
  for (const [name, steps] of found) {
    t.ok(steps.length >= 5, `${name} has steps`)
    t.ok(existsSync(`${ROOT}${steps[0]?.file}`), name)
    t.same(gapsOf(steps), [], name)
    t.equal(new Set(steps.map(({ file }) => file)).size, steps.length, `${name}: no file is visited twice`)
  }
  t.ok((found.get('One certificate')?.length ?? 99) <= 14, 'a certificate passes 14 files at most')
})

t.test('a step that leads nowhere is found', async (t) => {
  const from = { file: 'agent/daemon/loop.ts', handedBy: undefined }
  const handedBy = 'agent/daemon/daemon.ts'
  t.match(gapsOf([from, { file: 'agent/gone.ts', handedBy: undefined }]), [/does not exist/])
  t.match(gapsOf([from, { file: 'agent/text/toml.ts', handedBy: undefined }]), [/neither of/])
  t.match(gapsOf([from, { file: 'agent/cli/output/status.ts', handedBy }]), [/does not hand/])
  t.same(gapsOf([from, { file: 'agent/daemon/watch/watching.ts', handedBy }]), [])
})

t.test('the table and the figure have every room and no other', async (t) => {
  const rooms = readdirSync(`${ROOT}agent`, { withFileTypes: true }).filter((entry) => entry.isDirectory())
  const names = rooms.map(({ name }) => name).sort()
  const inTable = [...DESIGN.matchAll(/^\| `agent\/([a-z-]+)\/` \|/gm)].map(([, name = '']) => name)
  t.same(inTable.toSorted(), names)
  const figure = /## The rooms\s+```mermaid\n([\s\S]*?)```/.exec(DESIGN)?.[1] ?? ''
  const inFigure = new Set(
    [...figure.matchAll(/\b[a-z]+\b/g)].map(([name]) => name).filter((name) => name !== 'flowchart'),
  )
  t.same([...inFigure].sort(), names)
})

/** Without types of the rim, which come from everywhere. */
function valuesImportedBy(file: string): readonly string[] {
  const text = readFileSync(ROOT + file, 'utf8').replaceAll(
    /^import type\b[^'"]*?'[./]+(?:node|cluster|telemetry)\/[^']+'/gm,
    '',
  )
  return [...text.matchAll(IMPORT)].map((match) => posix.join(posix.dirname(file), match[1] ?? match[2] ?? ''))
}

/** Of a path below agent/. */
function roomOf(file: string): string {
  return file.split('/')[0] ?? ''
}

t.test('in the figure every import follows the arrows, and there is none without an import', async (t) => {
  const figure = /## The rooms\s+```mermaid\n([\s\S]*?)```/.exec(DESIGN)?.[1] ?? ''
  const drawn = [...figure.matchAll(/^ +(.+?) --> (.+)$/gm)].flatMap(([, from = '', to = '']) =>
    from.split(' & ').flatMap((one) => to.split(' & ').map((other) => `${one} ${other}`)),
  )
  const used = new Set(
    readdirSync(`${ROOT}agent`, { recursive: true, encoding: 'utf8' })
      .filter((name) => /\/.*\.ts$/.test(name))
      .flatMap((name) =>
        valuesImportedBy(`agent/${name}`).map((path) => [name, path.slice('agent/'.length)].map(roomOf).join(' ')),
      ),
  )
  const reachable = (from: string, seen = new Set<string>()): ReadonlySet<string> => {
    for (const arrow of drawn) {
      const [start, end = ''] = arrow.split(' ')
      if (start !== from || seen.has(end)) continue
      seen.add(end)
      reachable(end, seen)
    }
    return seen
  }
  t.ok(drawn.length > 20 && used.size > 60, `${drawn.length} arrows for ${used.size} pairs of rooms`)
  const astray = [...used].filter((pair) => {
    const [from = '', to = ''] = pair.split(' ')
    return from !== to && !reachable(from).has(to)
  })
  t.same(astray, [])
  t.same(
    drawn.filter((arrow) => !used.has(arrow)),
    [],
  )
})

/** Every page for people who work on the code, by its path. */
function guides(): readonly string[] {
  const pages = readdirSync(`${ROOT}docs`, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.md'))
  return ['CONTRIBUTING.md', 'STYLE.md', 'SECURITY.md', 'README.md', ...pages.map((name) => `docs/${name}`)]
}

/** Paths of this repository in a text, as far as they are no patterns. */
function pathsIn(text: string): readonly string[] {
  const all = [...text.matchAll(/`((?:agent|test|scripts|daemonset|docs)\/[\w./-]+)`/g)].map(([, path = '']) => path)
  return all.filter((path) => !path.includes('NAME'))
}

t.test('every file and folder that a guide names exists', async (t) => {
  const named = guides().flatMap((guide) =>
    pathsIn(readFileSync(ROOT + guide, 'utf8')).map((path) => ({ guide, path })),
  )
  t.ok(named.length > 200, `${named.length} were found`)
  t.same(
    named.filter(({ path }) => !existsSync(ROOT + path)),
    [],
  )
})

t.test('CONTRIBUTING.md answers for ten changes where they are made', async (t) => {
  const text = readFileSync(`${ROOT}CONTRIBUTING.md`, 'utf8')
  const table = /## Where do I change …\?\n([\s\S]*?)\n## /.exec(text)?.[1] ?? ''
  const rows = table
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .slice(2)
  t.ok(rows.length >= 10, `${rows.length} rows`)
  for (const row of rows) t.ok(pathsIn(row).length > 0, row)
})
