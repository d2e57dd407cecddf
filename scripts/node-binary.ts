// The Node binary that an image gets: the one that runs this, or that of another architecture from its npm package. The
// rule: nothing is taken that is not, byte for byte, what package-lock.json names.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, closeSync, copyFileSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Lock } from './bill-of-materials.ts'

/** Architectures as images name them, and as Node does. */
const NODE_NAMES: { readonly [architecture: string]: string } = { amd64: 'x64', arm64: 'arm64' }

export function copyNodeBinary(architecture: string | undefined, lock: Lock, target: string): void {
  const name = architecture === undefined ? process.arch : NODE_NAMES[architecture]
  if (name === undefined) throw new Error(`no package brings Node for ${architecture}: amd64 and arm64 are known`)
  if (name === process.arch) copyFileSync(process.execPath, target)
  else unpackNodeBinary(`node-linux-${name}`, lock, target)
  chmodSync(target, 0o755)
}

function unpackNodeBinary(name: string, lock: Lock, target: string): void {
  const { version, integrity } = lock.packages[`node_modules/${name}`] ?? {}
  if (version === undefined || integrity === undefined) throw new Error(`package-lock.json does not name ${name}`)
  const folder = mkdtempSync(join(tmpdir(), 'node-binary-'))
  try {
    execFileSync(
      'npm',
      ['pack', '--silent', '--prefer-offline', '--ignore-scripts', '--pack-destination', folder, `${name}@${version}`],
      {
        stdio: ['ignore', 'ignore', 'inherit'],
      },
    )
    const archive = join(folder, `${name}-${version}.tgz`)
    const found = `sha512-${createHash('sha512').update(readFileSync(archive)).digest('base64')}`
    if (found !== integrity) throw new Error(`${name}@${version} is not what package-lock.json names: ${found}`)
    const out = openSync(target, 'w')
    execFileSync('tar', ['-xzOf', archive, 'package/bin/node'], { stdio: ['ignore', out, 'inherit'] })
    closeSync(out)
  } finally {
    rmSync(folder, { recursive: true })
  }
}
