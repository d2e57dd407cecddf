// IP addresses as certificates hold them: 4 or 16 bytes. Text that is not an address is `undefined`, never an error.
import { isIP } from 'node:net'

/** The address in its shortest form: an IPv4 address inside IPv6 is IPv4, as for Go's net.IP.Equal. */
export function addressBytes(text: string): Buffer | undefined {
  const bare = text.replace(/^\[(.*)\]$/, '$1')
  switch (isIP(bare)) {
    case 4:
      return Buffer.from(bare.split('.').map(Number))
    case 6:
      return bare.includes('%') ? undefined : shortest(sixteenBytes(bare))
    default:
      return undefined
  }
}

export function shortest(bytes: Buffer): Buffer {
  const isMapped = bytes.length === 16 && bytes.subarray(0, 12).toString('hex') === `${'0'.repeat(20)}ffff`
  return isMapped ? bytes.subarray(12) : bytes
}

export function addressText(bytes: Buffer): string {
  const short = shortest(bytes)
  if (short.length === 4) return short.join('.')
  // The URL parser writes IPv6 the way RFC 5952 wants it.
  const groups = short.toString('hex').match(/.{4}/g)?.join(':') ?? ''
  return URL.parse(`http://[${groups}]`)?.hostname.slice(1, -1) ?? groups
}

function sixteenBytes(text: string): Buffer {
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text)
  const pair = (high: string | undefined, low: string | undefined) => (Number(high) * 256 + Number(low)).toString(16)
  const plain = dotted === null ? text : `${dotted[1]}${pair(dotted[2], dotted[3])}:${pair(dotted[4], dotted[5])}`
  const [head = '', tail] = plain.split('::')
  const left = head.split(':').filter(Boolean)
  const right = (tail ?? '').split(':').filter(Boolean)
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => '0')
  return Buffer.from([...left, ...zeros, ...right].map((group) => group.padStart(4, '0')).join(''), 'hex')
}
