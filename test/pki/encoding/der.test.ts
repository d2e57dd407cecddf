import fc from 'fast-check'
import t from 'tap'
import { childrenOf, encodeElement, readElement, readElements, TAG } from '../../../agent/pki/encoding/der.ts'

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex')

t.test('reads what it has encoded, whatever the length', async (t) => {
  fc.assert(
    fc.property(fc.nat(70_000), (length) => {
      const content = Buffer.alloc(length, 7)
      const encoded = encodeElement(TAG.octetString, content)
      const element = readElement(Buffer.concat([encoded, Buffer.from('rest')]))
      return element?.raw.equals(encoded) === true && element.content.equals(content)
    }),
    { numRuns: 50 },
  )
  t.same(encodeElement(TAG.octetString, Buffer.alloc(200)).subarray(0, 3), hex('04 81 c8'), 'long form from 128 on')
})

t.test('refuses everything that is BER but not DER', async (t) => {
  const table = {
    'no bytes': '',
    'a tag without a length': '30',
    'content that is cut off': '30 05 00',
    'an indefinite length': '30 80 02 01 00 00 00',
    'a long form where the short one fits': '30 81 02 05 00',
    'a long form with a leading zero': '30 82 00 81',
    'a length of five bytes': '30 85 00 00 00 00 01',
    'a tag of several bytes': '1f 81 01 00',
  }
  for (const [name, bytes] of Object.entries(table)) t.equal(readElement(hex(bytes)), undefined, name)
})

t.test('walks into an element only if it has the tag asked for and no rest', async (t) => {
  const sequence = readElement(hex('30 06 02 01 05 04 01 aa'))
  t.same(
    childrenOf(sequence, TAG.sequence)?.map((child) => child.tag),
    [TAG.integer, TAG.octetString],
  )
  t.equal(childrenOf(sequence, TAG.set), undefined)
  t.equal(childrenOf(readElement(hex('30 04 02 01 05 04')), TAG.sequence), undefined)
  t.equal(childrenOf(undefined, TAG.sequence), undefined)
})

t.test('never throws on any bytes', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const elements = readElements(Buffer.from(bytes))
      return elements === undefined || Buffer.concat(elements.map((one) => one.raw)).equals(Buffer.from(bytes))
    }),
  )
  t.same(readElements(Buffer.alloc(0)), [])
})

t.test('gives up on more elements than anything real has', async (t) => {
  const many = (count: number) => Buffer.alloc(count * 2, Buffer.from('3000', 'hex'))
  t.equal(readElements(many(10_000))?.length, 10_000)
  t.equal(readElements(many(10_001)), undefined)
})
