// A folder is a room: where there are more than three files, one of them says at its top what the room is for and where
// to begin.
import { readdirSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'
import t from 'tap'

const ROOT = new URL('../agent/', import.meta.url).pathname
const PARTS = ['// This room: ', '// Begin here; then ', '// May touch: ']

function rooms(): ReadonlyMap<string, readonly string[]> {
  const files = readdirSync(ROOT, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'))
  const byFolder = Map.groupBy(files, (file) => posix.dirname(file))
  return new Map([...byFolder].filter(([folder, all]) => folder !== '.' && all.length > 3))
}

/** The comment at the top, line by line. */
function headOf(text: string): readonly string[] {
  const lines = text.split('\n')
  return lines.slice(
    0,
    lines.findIndex((line) => !line.startsWith('//')),
  )
}

/** The parts that the head has; a room's entrance has all three. */
function partsIn(head: readonly string[]): readonly string[] {
  return PARTS.filter((part) => head.some((line) => line.startsWith(part)))
}

t.test('every folder of more than three files has exactly one entrance', async (t) => {
  const found = rooms()
  t.ok(found.size > 30, 'the folders were found')
  for (const [folder, files] of found) {
    const heads = files.map((file) => ({ file, head: headOf(readFileSync(ROOT + file, 'utf8')) }))
    const entrances = heads.filter(({ head }) => partsIn(head).length > 0)
    t.equal(entrances.length, 1, `${folder}: ${entrances.map(({ file }) => file).join(', ')}`)
    for (const { file, head } of entrances) t.same(partsIn(head), PARTS, file)
  }
})

t.test('the files that an entrance names lie in its room, below it or beside it', async (t) => {
  for (const files of rooms().values())
    for (const file of files) {
      const head = headOf(readFileSync(ROOT + file, 'utf8')).join('\n')
      const begin = head.slice(head.indexOf(PARTS[1] ?? ''), head.indexOf(PARTS[2] ?? ''))
      if (partsIn(head.split('\n')).length === 0) continue
      const named = [...begin.matchAll(/[\w/-]+\.ts\b/g)].map(([name]) => name)
      const near = (name: string) => [posix.join(posix.dirname(file), name), name.replace(/^agent\//, '')]
      const gone = named.filter((name) => !near(name).some((path) => isThere(path)))
      t.same(gone, [], file)
    }
})

t.test('the folders of more than 14 files are those that docs/design.md gives a reason for', async (t) => {
  const design = readFileSync(new URL('../docs/design.md', import.meta.url), 'utf8')
  const [reasons = ''] = /Larger ones are lists[\s\S]*?\n\n/.exec(design) ?? []
  const named = [...reasons.matchAll(/`agent\/([\w/-]+)\/`/g)].map(([, folder = '']) => folder)
  const large = [...rooms()].filter(([, files]) => files.length > 14).map(([folder]) => folder)
  t.ok(large.length > 0, 'the folders were counted')
  t.same(large.toSorted(), named.toSorted())
})

function isThere(path: string): boolean {
  try {
    return readFileSync(ROOT + path).length > 0
  } catch {
    return false
  }
}

t.test('a head without the parts is no entrance', async (t) => {
  t.same(partsIn(headOf('// What it does.\nimport x\n// This room: below the head\n')), [])
  t.same(partsIn(headOf('// This room: x.\n// Begin here; then y.ts.\n\n')), PARTS.slice(0, 2))
})
