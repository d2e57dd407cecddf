// One image for both architectures: an OCI layout whose index names the manifest of each.
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { normalizeModes, tarOf } from './archive.ts'
import { type Descriptor, finishLayout, INDEX, putBlob } from './oci.ts'

type Manifest = { readonly config: Descriptor }
type Config = { readonly os: string; readonly architecture: string }

export function joinImages(of: {
  readonly archives: readonly string[]
  readonly version: string
  readonly out: string
  readonly scratch: string
}): void {
  const folder = join(of.scratch, 'index')
  mkdirSync(folder)
  const manifests = of.archives.map((archive) => {
    execFileSync('tar', ['-xf', archive, '-C', folder])
    const { manifests: entries } = JSON.parse(readFileSync(join(folder, 'index.json'), 'utf8')) as {
      manifests: Descriptor[]
    }
    const [{ mediaType, digest, size } = fail(archive)] = entries
    const { config } = blob<Manifest>(folder, digest)
    const { os, architecture } = blob<Config>(folder, config.digest)
    return { mediaType, digest, size, platform: { os, architecture } }
  })
  const index = putBlob(folder, INDEX, JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests }))
  finishLayout(folder, index, of.version)
  normalizeModes(folder)
  const archive = tarOf(folder, ['blobs', 'index.json', 'oci-layout'])
  writeFileSync(join(of.out, `registry-trust-${of.version}-image.tar`), archive)
  writeFileSync(join(of.out, `registry-trust-${of.version}-image.digest`), `${index.digest}\n`)
}

function blob<Value>(folder: string, digest: string): Value {
  return JSON.parse(readFileSync(join(folder, 'blobs', digest.replace(':', '/')), 'utf8')) as Value
}

function fail(archive: string): never {
  throw new Error(`${archive} holds no image`)
}
