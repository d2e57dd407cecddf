// What is in a folder, for comparing before and after: every path with its kind, mode, owner, inode-independent content.
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'

export function tree(folder: string): { readonly [path: string]: string } {
  const entries = readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort()
  return Object.fromEntries(entries.map((name) => [name, describe(join(folder, name))]))
}

function describe(path: string): string {
  const stat = lstatSync(path)
  const mode = (stat.mode & 0o7777).toString(8)
  if (stat.isSymbolicLink()) return `-> ${readlinkSync(path)}`
  if (stat.isDirectory()) return `folder ${mode}`
  return stat.isFile() ? `${mode} ${stat.uid}:${stat.gid} ${readFileSync(path, 'utf8')}` : 'other'
}
