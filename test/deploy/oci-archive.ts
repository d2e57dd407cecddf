// An OCI archive as scripts/image writes it, read with nothing but tar: what its manifest and configuration say, and its root as a folder.
import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'

type Descriptor = { readonly digest: string; readonly size: number }

export type OciImage = {
  readonly digest: string
  /** Digests, lowest first. */
  readonly layers: readonly string[]
  readonly config: {
    readonly architecture: string
    readonly os: string
    readonly config: { readonly User: string; readonly Entrypoint: readonly string[]; readonly Cmd: readonly string[] }
  }
}

export function readImage(archive: string): OciImage {
  const [descriptor, ...others] = json<{ readonly manifests: readonly Descriptor[] }>(archive, 'index.json').manifests
  if (descriptor === undefined || others.length > 0) throw new Error(`${archive} holds ${others.length} other images`)
  const manifest = json<{ readonly config: Descriptor; readonly layers: readonly Descriptor[] }>(
    archive,
    blob(descriptor),
  )
  return {
    digest: descriptor.digest,
    layers: manifest.layers.map(({ digest }) => digest),
    config: json(archive, blob(manifest.config)),
  }
}

/** The layers over each other; ours remove nothing, so there is nothing to leave out. */
export function unpackRoot(archive: string, folder: string): void {
  mkdirSync(folder, { recursive: true })
  for (const digest of readImage(archive).layers)
    execFileSync('tar', ['-xzf', '-', '-C', folder], { input: read(archive, blob({ digest })), stdio: 'pipe' })
}

function blob({ digest }: Pick<Descriptor, 'digest'>): string {
  return `blobs/${digest.replace(':', '/')}`
}

function json<Value>(archive: string, path: string): Value {
  return JSON.parse(read(archive, path).toString('utf8')) as Value
}

function read(archive: string, path: string): Buffer {
  return execFileSync('tar', ['-xOf', archive, path], { maxBuffer: 1 << 30 })
}
