// OCI image layouts: https://github.com/opencontainers/image-spec/blob/main/image-layout.md
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { sha256 } from './archive.ts'

export type Descriptor = {
  readonly mediaType: string
  readonly digest: string
  readonly size: number
  readonly platform?: { readonly os: string; readonly architecture: string }
  readonly annotations?: { readonly [name: string]: string }
}

export const INDEX = 'application/vnd.oci.image.index.v1+json'
export const MANIFEST = 'application/vnd.oci.image.manifest.v1+json'

/** Puts a blob into the layout at `folder`. */
export function putBlob(folder: string, mediaType: string, bytes: Buffer | string): Descriptor {
  const digest = sha256(bytes)
  mkdirSync(join(folder, 'blobs/sha256'), { recursive: true })
  writeFileSync(join(folder, 'blobs/sha256', digest), bytes)
  return { mediaType, digest: `sha256:${digest}`, size: Buffer.byteLength(bytes) }
}

/** Writes what makes a folder of blobs a layout; `tag` is the name under which tools find its one entry. */
export function finishLayout(folder: string, entry: Descriptor, tag: string): void {
  const named = { ...entry, annotations: { 'org.opencontainers.image.ref.name': tag } }
  writeFileSync(join(folder, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }))
  writeFileSync(join(folder, 'index.json'), JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests: [named] }))
}
