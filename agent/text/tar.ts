// A tar archive of small files, as bytes: ustar (POSIX.1-1988), of root, readable by its owner alone. Pure.

export type TarEntry = { readonly name: string; readonly bytes: Buffer }

const BLOCK = 512
const MOST_NAME = 100

/** `at`: when the files were made, milliseconds since the epoch. Throws where a name has more than 100 bytes. */
export function tarOf(entries: readonly TarEntry[], at: number): Buffer {
  const blocks = entries.flatMap(({ name, bytes }) => [headerOf(name, bytes.length, at), padded(bytes)])
  return Buffer.concat([...blocks, Buffer.alloc(2 * BLOCK)])
}

function headerOf(name: string, size: number, at: number): Buffer {
  if (Buffer.byteLength(name) > MOST_NAME) throw new RangeError(`${name} is too long for a name in a tar archive`)
  const header = Buffer.alloc(BLOCK)
  const octal = (value: number, offset: number, length: number) =>
    header.write(`${value.toString(8).padStart(length - 1, '0')}\0`, offset, 'latin1')
  header.write(name, 0, 'utf8')
  octal(0o600, 100, 8)
  octal(0, 108, 8)
  octal(0, 116, 8)
  octal(size, 124, 12)
  octal(Math.floor(at / 1000), 136, 12)
  // The checksum is taken with spaces in its own place.
  header.write('        0', 148, 'latin1')
  header.write('ustar\x0000', 257, 'latin1')
  header.write('root', 265, 'latin1')
  header.write('root', 297, 'latin1')
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return header
}

function padded(bytes: Buffer): Buffer {
  const rest = bytes.length % BLOCK
  return rest === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(BLOCK - rest)])
}
