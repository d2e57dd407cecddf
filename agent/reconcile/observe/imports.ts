// The files that config.toml imports, as containerd finds them (cmd/containerd/server/config/config.go, resolveImports):
// by pattern where a name holds a `*`, else by name, each from the folder of the file that names it.
import { posix } from 'node:path'
import { readContainerdConfig } from '../../containerd/config/read.ts'
import { isAtLeast, parseContainerdVersion } from '../../containerd/config/schema-version.ts'
import type { NodeLayout } from '../../containerd/layouts.ts'
import { type Problem, problem } from '../../model/errors.ts'
import type { ContainerdFacts } from '../../model/observed-state.ts'
import type { FileState, NodeFiles } from '../../model/ports.ts'
import { isPattern, matcherOf } from '../../text/file-pattern.ts'

export type Imports = Pick<ContainerdFacts, 'imports' | 'importFolders' | 'unseenImport' | 'unloadableImports'>

export type ImportRequest = {
  readonly configFile: string
  readonly layout: NodeLayout
  /** As CRI `Version` tells it. */
  readonly version: string
}

/** In the order in which containerd merges them: what imported files import comes after all that is named before. */
export async function readImports(config: FileState, request: ImportRequest, files: NodeFiles): Promise<Imports> {
  const { configFile, layout, version } = request
  const imports: { path: string; bytes: Buffer }[] = []
  const folders = new Set<string>()
  const unseen: Problem[] = []
  const unloadable: string[] = []
  const seen = new Set([configFile])
  const named = config.kind === 'file' ? patternsOf(config.bytes, configFile, version) : []
  const { dropIns } = layout
  const pending = named.map((path) => (path === dropIns?.merged ? `${dropIns.folder}/*.toml` : path))
  const end = `${configFile} imports it, and was left unchanged`
  const tell = (path: string, what: string) => {
    unloadable.push(path)
    unseen.push(problem('CONTAINERD_CONFIG_UNREADABLE', `${path} ${what}: containerd does not start with it; ${end}`))
  }
  for (let pattern = pending.shift(); pattern !== undefined; pattern = pending.shift()) {
    const found = await matching(pattern, files)
    for (const folder of found.folders) folders.add(folder)
    const hidden = found.folders.find((folder) => !files.isSeen(folder))
    if (hidden !== undefined)
      unseen.push(problem('TARGET_NOT_MOUNTED', `${pattern} is not mounted into this Pod; ${end}`))
    if (found.isRefused) tell(pattern, 'is not a pattern that Go knows')
    for (const path of found.paths) {
      if (seen.has(path)) continue
      seen.add(path)
      const state = await files.readFollowing(path)
      if (state.kind === 'file') {
        imports.push({ path, bytes: state.bytes })
        pending.push(...patternsOf(state.bytes, path, version))
      } else if (state.kind === 'unreadable')
        unseen.push(problem('NODE_FILE_UNREADABLE', `${path} cannot be read: ${state.reason}; ${end}`))
      else if (hidden === undefined) tell(path, WHAT[state.kind])
    }
  }
  const [unseenImport] = unseen
  return {
    imports,
    importFolders: [...folders],
    ...(unseenImport === undefined ? {} : { unseenImport }),
    ...(unloadable.length === 0 ? {} : { unloadableImports: unloadable }),
  }
}

const WHAT = { absent: 'is not there', folder: 'is a folder', link: 'leads nowhere', other: 'is not a regular file' }

type Matching = {
  readonly paths: readonly string[]
  /** That were looked into. */
  readonly folders: readonly string[]
  readonly isRefused?: boolean
}

/** Go's filepath.Glob, where the name holds a `*`; every part of it may be a pattern then. */
async function matching(pattern: string, files: NodeFiles): Promise<Matching> {
  if (!pattern.includes('*')) return { paths: [pattern], folders: [posix.dirname(pattern)] }
  const parts = pattern.split('/').slice(1)
  const matchers = parts.map(matcherOf)
  if (matchers.includes(undefined)) return { paths: [], folders: [posix.dirname(pattern)], isRefused: true }
  let paths: readonly string[] = ['']
  const folders: string[] = []
  for (const [index, part] of parts.entries()) {
    if (!isPattern(part) && index < parts.length - 1) {
      paths = paths.map((path) => `${path}/${part}`)
      continue
    }
    const next: string[] = []
    for (const folder of paths) {
      if (index === parts.length - 1) folders.push(folder || '/')
      if ((await files.readFollowing(folder || '/')).kind !== 'folder') continue
      const names = (await files.list(folder || '/')).toSorted()
      next.push(...names.filter((name) => matchers[index]?.test(name)).map((name) => `${folder}/${name}`))
    }
    paths = next
  }
  return { paths, folders: folders.length === 0 ? [literalStart(pattern)] : folders }
}

function literalStart(pattern: string): string {
  const parts = pattern.split('/')
  return parts.slice(0, parts.findIndex(isPattern)).join('/') || '/'
}

function patternsOf(bytes: Buffer, path: string, version: string): readonly string[] {
  const parsed = parseContainerdVersion(version)
  try {
    const { imports, importNames } = readContainerdConfig(bytes, { path })
    // Before 1.7 a pattern without a folder is looked for in containerd's own folder, which is / in a service.
    if (parsed === undefined || isAtLeast(parsed, 1, 7)) return imports
    return importNames.map((name, index) => (name.includes('*') ? posix.resolve('/', name) : (imports[index] ?? '')))
  } catch {
    // A file that does not parse is reported by the plan, with its position.
    return []
  }
}
