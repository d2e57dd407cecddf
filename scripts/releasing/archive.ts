// Archives that are the same whenever and by whomever they are made.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, lstatSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'

/** The tar archive of `entries` of `folder`: sorted, of root, without times; links followed where `follows`. */
export function tarOf(
  folder: string,
  entries: readonly string[],
  { follows = false, exclude = [] as readonly string[] } = {},
): Buffer {
  const same = ['--sort=name', '--format=gnu', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner']
  const more = [...(follows ? ['--dereference'] : []), ...exclude.map((pattern) => `--exclude=${pattern}`)]
  const args = [...same, ...more, '--create', '--file=-', `--directory=${folder}`, ...entries]
  return execFileSync('tar', args, { maxBuffer: 1024 * 1024 * 1024 })
}

/** Writes the tar archive `file` anew as `tarOf` does: buildah puts the time at which it wrote each file into it. */
export function rewriteTar(file: string, scratch: string): void {
  const folder = mkdtempSync(join(scratch, 'archive-'))
  execFileSync('tar', ['--extract', `--file=${file}`, `--directory=${folder}`])
  normalizeModes(folder)
  writeFileSync(file, tarOf(folder, readdirSync(folder).sort()))
  rmSync(folder, { recursive: true })
}

/** zlib's own default. */
export const COMPRESSION = 6

export function gzip(bytes: Buffer, level = COMPRESSION): Buffer {
  return gzipSync(bytes, { level })
}

export function sha256(bytes: Buffer | string): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** The modes that a checkout has depend on the umask of who made it; a release has 755 and 644. */
export function normalizeModes(folder: string): void {
  chmodSync(folder, 0o755)
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) normalizeModes(path)
    else if (entry.isFile()) chmodSync(path, (lstatSync(path).mode & 0o100) === 0 ? 0o644 : 0o755)
  }
}

/** JSON whose bytes depend on the value alone. */
export function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`
}
