// Imports point one way; an arrow back makes a reader look in two places for one rule.
import { readdirSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'
import t from 'tap'

/** A folder may import itself and what stands here; types may be imported from the rim too. */
const MAY_IMPORT: { readonly [folder: string]: readonly string[] } = {
  model: [],
  pki: ['model'],
  containerd: ['model'],
  targets: ['model', 'pki', 'containerd'],
  config: ['model', 'pki', 'containerd'],
  reconcile: ['model', 'pki', 'containerd', 'targets', 'config'],
  http: ['model', 'pki', 'containerd', 'targets', 'config', 'reconcile'],
  cli: ['model', 'pki', 'containerd', 'targets', 'config', 'reconcile', 'http', 'sidecar'],
  sidecar: ['model', 'containerd', 'node'],
  node: ['model'],
  cluster: ['model'],
  telemetry: ['model'],
}
const RIM = ['node', 'cluster', 'telemetry']
const IMPORT = /^(import|export)( type)?\b[^'"]*?from '(\.[^']+)'|\bimport\('(\.[^']+)'\)/gm

type Arrow = { readonly from: string; readonly to: string; readonly file: string; readonly isType: boolean }

function arrows(): readonly Arrow[] {
  const root = new URL('../agent/', import.meta.url).pathname
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'))
  return files.flatMap((file) =>
    [...readFileSync(`${root}${file}`, 'utf8').matchAll(IMPORT)].map((match) => ({
      file,
      from: folderOf(file),
      to: folderOf(posix.join(posix.dirname(file), match[3] ?? match[4] ?? '')),
      isType: match[2] !== undefined,
    })),
  )
}

function folderOf(file: string): string {
  return file.includes('/') ? (file.split('/')[0] ?? '') : 'main'
}

function isAllowed({ from, to, isType }: Arrow): boolean {
  if (from === to || from === 'main') return true
  if (isType && RIM.includes(to) && !RIM.includes(from) && from !== 'model') return true
  return MAY_IMPORT[from]?.includes(to) ?? false
}

t.test('every import points from the shell to the core', async (t) => {
  const all = arrows()
  t.ok(all.length > 100, 'the imports were found')
  const wrong = all.filter((arrow) => !isAllowed(arrow)).map(({ file, to }) => `${file} imports ${to}/`)
  t.same(wrong, [])
})

t.test('an arrow back is found', async (t) => {
  t.notOk(isAllowed({ from: 'model', to: 'node', file: 'model/x.ts', isType: true }))
  t.notOk(isAllowed({ from: 'containerd', to: 'node', file: 'containerd/x.ts', isType: false }))
  t.notOk(isAllowed({ from: 'node', to: 'containerd', file: 'node/x.ts', isType: true }))
  t.ok(isAllowed({ from: 'targets', to: 'containerd', file: 'targets/x.ts', isType: false }))
})
