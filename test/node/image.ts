// Tiny OCI images made in memory: as an archive for `ctr images import`, and as the folder a docker-registry serves.
// No network and no registry client is needed, and the same input always gives the same digests.
import { createHash } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'

export type ImageFile = { readonly path: string; readonly bytes: Buffer; readonly mode: number }

type Blob = { readonly digest: string; readonly bytes: Buffer; readonly mediaType: string }

export type Image = { readonly manifest: Blob; readonly config: Blob; readonly layer: Blob }

const BLOCK = 512
const ARCHITECTURES: { readonly [node: string]: string } = { x64: 'amd64', arm64: 'arm64' }

export function buildImage(files: readonly ImageFile[], command: readonly string[]): Image {
  const tar = tarArchive(files)
  const layer = blob(gzipSync(tar), 'application/vnd.oci.image.layer.v1.tar+gzip')
  const config = json('application/vnd.oci.image.config.v1+json', {
    architecture: ARCHITECTURES[process.arch] ?? process.arch,
    os: 'linux',
    config: { Env: ['PATH=/bin'], Entrypoint: command },
    rootfs: { type: 'layers', diff_ids: [digestOf(tar)] },
  })
  const manifest = json('application/vnd.oci.image.manifest.v1+json', {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: descriptor(config),
    layers: [descriptor(layer)],
  })
  return { manifest, config, layer }
}

/** A few hundred bytes that can be pulled but not run. */
export function tinyImage(text: string): Image {
  return buildImage([{ path: 'hello', bytes: Buffer.from(`${text}\n`), mode: 0o644 }], ['/hello'])
}

/** OCI archive for `ctr images import`, with the image under each of the names. */
export function ociArchive(image: Image, names: readonly string[]): Buffer {
  const index = {
    schemaVersion: 2,
    manifests: names.map((name) => ({
      ...descriptor(image.manifest),
      annotations: { 'io.containerd.image.name': name, 'org.opencontainers.image.ref.name': name },
    })),
  }
  return tarArchive([
    { path: 'oci-layout', bytes: Buffer.from('{"imageLayoutVersion":"1.0.0"}'), mode: 0o644 },
    { path: 'index.json', bytes: Buffer.from(JSON.stringify(index)), mode: 0o644 },
    ...[image.manifest, image.config, image.layer].map(({ digest, bytes }) => ({
      path: `blobs/sha256/${digest.slice(7)}`,
      bytes,
      mode: 0o644,
    })),
  ])
}

/** Puts the image where a docker-registry with this root folder finds it. The tag's link comes last. */
export async function storeInRegistry(folder: string, repository: string, tag: string, image: Image): Promise<void> {
  const root = join(folder, 'docker/registry/v2')
  const repo = join(root, 'repositories', repository)
  for (const { digest, bytes } of [image.manifest, image.config, image.layer]) {
    const hex = digest.slice(7)
    await put(join(root, 'blobs/sha256', hex.slice(0, 2), hex, 'data'), bytes)
  }
  for (const { digest } of [image.config, image.layer])
    await put(join(repo, '_layers/sha256', digest.slice(7), 'link'), digest)
  const manifest = image.manifest.digest
  await put(join(repo, '_manifests/revisions/sha256', manifest.slice(7), 'link'), manifest)
  await put(join(repo, '_manifests/tags', tag, 'index/sha256', manifest.slice(7), 'link'), manifest)
  await put(join(repo, '_manifests/tags', tag, 'current/link'), manifest)
}

async function put(file: string, content: string | Buffer): Promise<void> {
  await mkdir(dirname(file), { recursive: true })
  await writeFile(file, content)
}

function digestOf(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

function blob(bytes: Buffer, mediaType: string): Blob {
  return { digest: digestOf(bytes), bytes, mediaType }
}

function json(mediaType: string, value: object): Blob {
  return blob(Buffer.from(JSON.stringify(value)), mediaType)
}

function descriptor(of: Blob): { mediaType: string; digest: string; size: number } {
  return { mediaType: of.mediaType, digest: of.digest, size: of.bytes.length }
}

/** A ustar archive of regular files; parent folders are implied. */
function tarArchive(files: readonly ImageFile[]): Buffer {
  const parts = files.flatMap(({ path, bytes, mode }) => [
    tarHeader(path, bytes.length, mode),
    bytes,
    Buffer.alloc((BLOCK - (bytes.length % BLOCK)) % BLOCK),
  ])
  return Buffer.concat([...parts, Buffer.alloc(2 * BLOCK)])
}

function tarHeader(path: string, size: number, mode: number): Buffer {
  if (Buffer.byteLength(path) > 100) throw new Error(`a path of an image file is longer than 100 bytes: ${path}`)
  const header = Buffer.alloc(BLOCK)
  const octal = (value: number, length: number) => `${value.toString(8).padStart(length - 1, '0')}\0`
  header.write(path, 0)
  header.write(octal(mode, 8), 100)
  header.write(octal(0, 8), 108)
  header.write(octal(0, 8), 116)
  header.write(octal(size, 12), 124)
  header.write(octal(0, 12), 136)
  header.write('        ', 148)
  header.write('0', 156)
  header.write('ustar\x0000', 257, 'latin1')
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return header
}
