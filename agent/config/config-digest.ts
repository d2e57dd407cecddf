// One digest of a ConfigMap's data, the same from the object and from the files that the kubelet makes of it.
import { createHash } from 'node:crypto'

export type ConfigEntry = { readonly name: string; readonly bytes: Uint8Array }

/** SHA-256 (hex) over names and contents, whatever their order. */
export function configDigest(entries: Iterable<ConfigEntry>): string {
  const lines = [...entries].map(({ name, bytes }) => `${JSON.stringify(name)} ${sha256(bytes)}\n`)
  return sha256(Buffer.from(lines.toSorted().join('')))
}

/** Of the object itself, as the API server gives it. */
export function digestOfConfigMap(map: {
  readonly data?: { readonly [key: string]: string } | undefined
  readonly binaryData?: { readonly [key: string]: string } | undefined
}): string {
  return configDigest([
    ...Object.entries(map.data ?? {}).map(([name, text]) => ({ name, bytes: Buffer.from(text) })),
    ...Object.entries(map.binaryData ?? {}).map(([name, text]) => ({ name, bytes: Buffer.from(text, 'base64') })),
  ])
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
