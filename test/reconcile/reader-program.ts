// Run as a program of its own: reads, as fast as it can, what containerd and others read on a node, until its standard input ends.
// Prints one JSON line: how often it looked, every content it saw (as SHA-256, by path), and every hosts.toml whose CA was not there.
import { createHash } from 'node:crypto'
import { lstatSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const [root = ''] = process.argv.slice(2)
const CERTS_D = '/etc/containerd/certs.d'
const seen = new Map<string, Set<string>>()
const broken: string[] = []
let looks = 0

function look(): void {
  looks += 1
  read('/etc/containerd/config.toml')
  read('/etc/ssl/certs/ca-certificates.crt')
  for (const name of names('/etc/ssl/certs')) read(`/etc/ssl/certs/${name}`)
  for (const host of names(CERTS_D)) lookAtHost(`${CERTS_D}/${host}`)
}

/** containerd reads hosts.toml and then the CA that it names: the CA has to be there for as long as hosts.toml is. */
function lookAtHost(folder: string): void {
  const before = identity(`${folder}/hosts.toml`)
  if (read(`${folder}/hosts.toml`) === undefined) return
  const ca = read(`${folder}/ca.crt`)
  if (ca === undefined && identity(`${folder}/hosts.toml`) === before)
    broken.push(`${folder}: hosts.toml without ca.crt`)
}

function read(path: string): Buffer | undefined {
  try {
    const bytes = readFileSync(join(root, path))
    const contents = seen.get(path) ?? new Set()
    seen.set(path, contents.add(createHash('sha256').update(bytes).digest('hex')))
    return bytes
  } catch {
    // Not there (any more), or a folder: another program would see the same.
    return undefined
  }
}

function names(folder: string): readonly string[] {
  try {
    return readdirSync(join(root, folder))
  } catch {
    return []
  }
}

function identity(path: string): number | undefined {
  return lstatSync(join(root, path), { throwIfNoEntry: false })?.ino
}

let isOver = false
process.stdin.resume().once('end', () => {
  isOver = true
})

function turn(): void {
  if (!isOver) {
    look()
    setImmediate(turn)
    return
  }
  const contents = Object.fromEntries([...seen].map(([path, hashes]) => [path, [...hashes]]))
  console.log(JSON.stringify({ looks, broken, contents }))
}

look()
console.log('reading')
turn()
