// Prints an OCI archive by layer: what each weighs compressed and unpacked, and where it comes from.
import { execFileSync } from 'node:child_process'
import { gunzipSync } from 'node:zlib'

type Descriptor = { readonly digest: string; readonly size: number }
type Index = { readonly manifests: readonly Descriptor[] }
type Manifest = { readonly config: Descriptor; readonly layers: readonly Descriptor[] }
type Config = { readonly history?: readonly { readonly created_by?: string; readonly empty_layer?: boolean }[] }

const [archive] = process.argv.slice(2)
if (archive === undefined) throw new Error('usage: image-layers.ts ARCHIVE')

const [descriptor] = json<Index>('index.json').manifests
if (descriptor === undefined) throw new Error(`${archive} holds no image`)
const manifest = json<Manifest>(blob(descriptor))
const history = (json<Config>(blob(manifest.config)).history ?? []).filter((step) => step.empty_layer !== true)
console.log(`${descriptor.digest}\n`)
console.log('compressed   unpacked  layer')
let [compressed, unpacked] = [0, 0]
for (const [index, layer] of manifest.layers.entries()) {
  const size = unpackedSize(read(blob(layer)))
  compressed += layer.size
  unpacked += size
  line(layer.size, size, history[index]?.created_by?.split('\n').at(0)?.slice(0, 80) ?? layer.digest)
}
line(compressed, unpacked, 'in all')

function line(compressedBytes: number, unpackedBytes: number, text: string): void {
  console.log(`${megabytes(compressedBytes)}  ${megabytes(unpackedBytes)}  ${text}`)
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`.padStart(10)
}

function unpackedSize(bytes: Buffer): number {
  return bytes[0] === 0x1f ? gunzipSync(bytes).length : bytes.length
}

function blob({ digest }: Descriptor): string {
  return `blobs/${digest.replace(':', '/')}`
}

function json<Value>(path: string): Value {
  return JSON.parse(read(path).toString('utf8')) as Value
}

function read(path: string): Buffer {
  return execFileSync('tar', ['-xOf', archive ?? '', path], { maxBuffer: 1024 * 1024 * 1024 })
}
