// The image as scripts/image builds it, made once and kept until something that goes into it changes.
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { FixtureNode } from '../node/fixture-node.ts'
import { cacheFolder } from '../node/generations.ts'

const run = promisify(execFile)
const ROOT = join(import.meta.dirname, '../..')

export const IMAGE = 'localhost/registry-trust:0.1.0'

/** Why no image can be built here, or undefined. */
export function imageUnavailable(): string | undefined {
  const found = (process.env['PATH'] ?? '').split(':').some((folder) => existsSync(join(folder, 'buildah')))
  return found || existsSync(join(cacheFolder(), 'tools/buildah/usr/bin/buildah')) ? undefined : 'there is no buildah'
}

let building: Promise<string> | undefined

/** Path of the OCI archive. A file given from outside is taken as it is: one that was built elsewhere, or before the sources changed. */
export function imageArchive(): Promise<string> {
  const given = process.env['REGISTRY_TRUST_TEST_IMAGE']
  building ??= given !== undefined && given !== '' ? Promise.resolve(given) : builtImage('own')
  return building
}

/** The archive that scripts/image makes with these flags; `kind` tells one that is kept from those of other flags. */
export async function builtImage(kind: string, ...flags: readonly string[]): Promise<string> {
  const archive = join(ROOT, `dist/test-image-${kind}-${sourcesDigest()}.tar`)
  if (!existsSync(archive)) {
    const fresh = `${archive}.${process.pid}`
    await run(join(ROOT, 'scripts/image'), ['--output', fresh, '--tag', IMAGE, ...flags], {
      maxBuffer: 16 * 1024 * 1024,
    })
    const replace = 'rm -f "$1"-*.tar && mv "$3" "$2"'
    await run('sh', ['-c', replace, 'sh', join(ROOT, `dist/test-image-${kind}`), archive, fresh])
  }
  return archive
}

function sourcesDigest(): string {
  const files = [
    ...globSync('agent/**/*.ts', { cwd: ROOT }),
    'Dockerfile',
    'scripts/build.ts',
    'scripts/image',
    'scripts/image-bases.sh',
    'scripts/image-content.ts',
    'scripts/node-binary.ts',
    '.dockerignore',
    'package-lock.json',
    'tsconfig.json',
  ]
  const hash = createHash('sha256')
  for (const file of files.toSorted()) hash.update(file).update(readFileSync(join(ROOT, file)))
  return hash.digest('hex').slice(0, 12)
}

/** Puts the image where the node's CRI finds it, as if it had been pulled. */
export async function loadImage(node: FixtureNode): Promise<void> {
  const archive = readFileSync(await imageArchive())
  await node.run(['ctr', '--namespace', 'k8s.io', 'images', 'import', '--digests=false', '-'], {
    input: archive,
    timeoutMs: 60_000,
  })
  const deadline = Date.now() + 30_000
  while (!(await node.images()).some(({ tags }) => tags.includes(IMAGE))) {
    if (Date.now() > deadline) throw new Error(`CRI does not see ${IMAGE}: ${JSON.stringify(await node.images())}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
