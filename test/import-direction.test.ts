// Imports point one way, and nothing imports itself by a detour: an arrow back makes a reader look in two places for
// one rule.
import { readdirSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'
import t from 'tap'

const CORE = ['model', 'text', 'pki', 'containerd', 'targets', 'config']
const RUN = [...CORE, 'probe', 'restart', 'reconcile']

/** A folder may import itself and what stands here; types may be imported from the rim too. */
const MAY_IMPORT: { readonly [folder: string]: readonly string[] } = {
  model: [],
  text: ['model'],
  pki: ['model', 'text'],
  probe: ['model', 'text', 'pki'],
  containerd: ['model', 'text', 'pki'],
  targets: ['model', 'text', 'pki', 'containerd'],
  config: ['model', 'text', 'pki', 'containerd'],
  lint: ['model', 'text', 'config'],
  restart: ['model', 'text', 'containerd'],
  reconcile: [...CORE, 'probe', 'restart'],
  daemon: RUN,
  diagnose: [...RUN, 'daemon'],
  http: [...RUN, 'daemon', 'diagnose'],
  fleet: ['model', 'text', 'config', 'http', 'telemetry'],
  cli: [...RUN, 'lint', 'daemon', 'diagnose', 'http', 'fleet', 'sidecar', 'cluster'],
  sidecar: ['model', 'text', 'containerd', 'restart', 'node'],
  node: ['model'],
  cluster: ['model'],
  telemetry: ['model'],
}
const RIM = ['node', 'cluster', 'telemetry']

/** Modules of Node.js by which a program reaches what is outside of it, but for what only reads a text. */
const OUTSIDE = /^node:(fs|fs\/promises|child_process|net|http|https|http2|tls|dns|dgram|os|worker_threads)$/
const READS_TEXT = new Set(['isIP', 'isIPv4', 'isIPv6', 'BlockList'])
/** Who may, beside the ports in node/ and cluster/, and what for. */
const TOUCHES: { readonly [file: string]: string } = {
  'main.ts': 'the name of the machine, and where the state folder really lies',
  'main-reader.ts': 'its parent thread',
  'http/client.ts': 'asks an agent for its status',
  'http/certificate.ts': 'tries a certificate before it is served',
  'sidecar/restarter.ts': 'listens on its own socket',
  'sidecar/lifelines.ts': 'listens on its own socket',
  'sidecar/unix-socket.ts': 'makes the socket of a sidecar',
  'telemetry/line-output.ts': 'writes the log lines',
  'telemetry/process-metrics.ts': 'reads what /proc tells of this process',
}
const IMPORT = /^(?:import|export)( type)?\b[^'"]*?from '(\.[^']+)'|^import '(\.[^']+)'|\bimport\('(\.[^']+)'\)/gm

/** One import line, by the files' paths below agent/. */
type Arrow = { readonly from: string; readonly to: string; readonly isType: boolean }

function arrows(): readonly Arrow[] {
  const root = new URL('../agent/', import.meta.url).pathname
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'))
  return files.flatMap((file) =>
    importsIn(readFileSync(`${root}${file}`, 'utf8')).map(({ path, isType }) => ({
      from: file,
      to: posix.join(posix.dirname(file), path),
      isType,
    })),
  )
}

/** Every form of import: of names, of types alone, for its effect, when it is needed, of a type in place, passed on. */
function importsIn(text: string): readonly { readonly path: string; readonly isType: boolean }[] {
  return [...text.matchAll(IMPORT)].map(([, type, ...paths]) => ({
    path: paths.find((path) => path !== undefined) ?? '',
    isType: type !== undefined,
  }))
}

/** The folder right below agent/ that a file lies in; `main` for the files of agent/ itself. */
function partOf(file: string): string {
  return file.includes('/') ? (file.split('/')[0] ?? '') : 'main'
}

function isAllowed(arrow: Arrow): boolean {
  const [from, to] = [partOf(arrow.from), partOf(arrow.to)]
  if (from === to || from === 'main') return true
  if (arrow.isType && RIM.includes(to) && !RIM.includes(from) && from !== 'model') return true
  return MAY_IMPORT[from]?.includes(to) ?? false
}

/** Sets of two and more nodes that reach each other, each sorted: the strongly connected components of the arrows. */
function circles(pairs: readonly (readonly [from: string, to: string])[]): readonly (readonly string[])[] {
  const next = new Map<string, Set<string>>()
  for (const [from, to] of pairs) next.set(from, (next.get(from) ?? new Set()).add(to))
  const reach = new Map([...next.keys()].map((node) => [node, reachable(node, next)]))
  const found = new Map<string, readonly string[]>()
  for (const [node, all] of reach) {
    const circle = [...all].filter((other) => other !== node && reach.get(other)?.has(node) === true)
    const members = [node, ...circle].sort()
    if (circle.length > 0) found.set(members.join(), members)
  }
  return [...found.values()]
}

function reachable(start: string, next: ReadonlyMap<string, ReadonlySet<string>>): ReadonlySet<string> {
  const seen = new Set<string>()
  const waiting = [start]
  for (let node = waiting.pop(); node !== undefined; node = waiting.pop())
    for (const one of next.get(node) ?? [])
      if (!seen.has(one)) {
        seen.add(one)
        waiting.push(one)
      }
  return seen
}

t.test('every import points from the shell to the core', async (t) => {
  const all = arrows()
  t.ok(all.length > 1_000, 'the imports were found')
  t.same(
    all.filter((arrow) => !isAllowed(arrow)).map(({ from, to }) => `${from} imports ${to}`),
    [],
  )
})

t.test('no files and no folders import each other in a circle', async (t) => {
  const all = arrows()
  const between = (of: (file: string) => string) =>
    circles(all.map(({ from, to }) => [of(from), of(to)] as const).filter(([from, to]) => from !== to))
  t.same(
    between((file) => file),
    [],
    'files',
  )
  t.same(between(posix.dirname), [], 'folders')
  t.same(between(partOf), [], 'the folders right below agent/')
})

/** What it imports by name of modules that reach outside; types reach nothing. */
function outsideOf(text: string): readonly string[] {
  return [...text.matchAll(/^import (?!type )(\{[^}]*\}|[^'{]+) from '(node:[^']+)'/gm)]
    .filter(
      ([, names = '', module = '']) => OUTSIDE.test(module) && !namesIn(names).every((name) => READS_TEXT.has(name)),
    )
    .map(([, , module = '']) => module)
}

function namesIn(clause: string): readonly string[] {
  const names = clause.replace(/[{}]/g, '').split(',')
  return names.map((name) => name.trim()).filter((name) => name !== '' && !name.startsWith('type '))
}

t.test('only the rim reaches outside', async (t) => {
  const root = new URL('../agent/', import.meta.url).pathname
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'))
  const reaching = files.filter((file) => outsideOf(readFileSync(root + file, 'utf8')).length > 0)
  const beside = reaching.filter((file) => !['node', 'cluster'].includes(partOf(file)))
  t.ok(reaching.length > 30, 'the imports were found')
  t.same(beside.toSorted(), Object.keys(TOUCHES).toSorted())
  t.same(outsideOf("import { isIP, type Socket } from 'node:net'\nimport type { Stats } from 'node:fs'\n"), [])
  t.same(outsideOf("import { connect, isIP } from 'node:net'\nimport fs from 'node:fs'\n"), ['node:net', 'node:fs'])
})

t.test('an import is found in each of its forms', async (t) => {
  const text = `import { a, type A } from './names.ts'
import type { B } from './types.ts'
import {
  c,
} from './lines.ts'
import './effect.ts'
import { d } from 'node:fs'
export { e } from './passed-on.ts'
export type F = import('./in-place.ts').F
const later = await import('./later.ts')
`
  t.same(
    importsIn(text).map(({ path, isType }) => `${path}${isType ? ' (type)' : ''}`),
    ['./names.ts', './types.ts (type)', './lines.ts', './effect.ts', './passed-on.ts', './in-place.ts', './later.ts'],
  )
})

t.test('an arrow back is found', async (t) => {
  t.notOk(isAllowed({ from: 'model/x.ts', to: 'node/files/x.ts', isType: true }))
  t.notOk(isAllowed({ from: 'containerd/x.ts', to: 'node/files/x.ts', isType: false }))
  t.notOk(isAllowed({ from: 'node/x.ts', to: 'containerd/x.ts', isType: true }))
  t.notOk(isAllowed({ from: 'unlisted/x.ts', to: 'model/x.ts', isType: false }))
  t.ok(isAllowed({ from: 'targets/x/y.ts', to: 'containerd/x.ts', isType: false }))
})

t.test('a circle is found, however long, and what only leads to it is not taken for a part of it', async (t) => {
  const pairs = [
    ['main', 'a'],
    ['a', 'b'],
    ['b', 'c'],
    ['c', 'a'],
    ['c', 'ground'],
    ['x', 'y'],
    ['y', 'x'],
  ] as const
  t.same(circles(pairs), [
    ['a', 'b', 'c'],
    ['x', 'y'],
  ])
  t.same(circles(pairs.filter(([, to]) => to !== 'a' && to !== 'x')), [])
})
