// The names of log events are stable and documented: the table in docs/logs.md and the calls in the code say the same.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

const ROOT = join(import.meta.dirname, '../..')

/** Every call of a log in the agent: `level event`, and where. */
function calls(): readonly { readonly event: string; readonly where: string }[] {
  const files = readdirSync(join(ROOT, 'agent'), { recursive: true, encoding: 'utf8' }).filter((path) =>
    path.endsWith('.ts'),
  )
  return files.flatMap((path) => {
    const text = readFileSync(join(ROOT, 'agent', path), 'utf8')
    return [...text.matchAll(/\blog\??\.(debug|info|warn|error)\(\s*('[^']*')?/g)].map(
      ([, level, name = 'no literal']) => ({
        event: `${level} ${name.replaceAll("'", '')}`,
        where: path,
      }),
    )
  })
}

function documented(): readonly string[] {
  const text = readFileSync(join(ROOT, 'docs/logs.md'), 'utf8')
  return [...text.matchAll(/^\| `([^`]+)` \| (\w+) \| \S.*\|$/gm)].map(([, name, level]) => `${level} ${name}`)
}

t.test('every event has a literal name in kebab case', async (t) => {
  const found = calls()
  t.ok(found.length > 40, `${found.length} calls`)
  for (const { event, where } of found) t.match(event, /^\w+ [a-z]+(-[a-z]+)*$/, where)
  for (const path of readdirSync(join(ROOT, 'agent'), { recursive: true, encoding: 'utf8' }))
    if (path.endsWith('.ts')) t.notMatch(readFileSync(join(ROOT, 'agent', path), 'utf8'), /\blog\[/, path)
})

t.test('the table has every event of the code, in order, and no other', async (t) => {
  // Written without a log: it is about lines that could not be written.
  const inCode = new Set([...calls().map(({ event }) => event), 'warn log-lines-lost'])
  const byName = (one: string) => one.split(' ').reverse().join(' ')
  const wanted = [...inCode].sort((left, right) => (byName(left) < byName(right) ? -1 : 1))
  t.strictSame(documented(), wanted)
})
