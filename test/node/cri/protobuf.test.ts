// The oracle is protobufjs, on the same descriptors.
import protobuf from 'protobufjs/light.js'
import t from 'tap'
import { CRI_SERVICES, type Types } from '../../../agent/node/cri/messages.ts'
import { decodeMessage, encodeMessage, type Message } from '../../../agent/node/cri/protobuf.ts'
import { randomOf } from '../../fixtures/config/decoder-inputs.ts'

const SEED = 20261127
const ROUNDS = process.env['REGISTRY_TRUST_FULL'] === '1' ? 2_000 : 100
const READING = { longs: String, enums: String, defaults: true }
const TEXTS = ['', 'a', 'höst.example/ä:1', '\u{1F433}', 'x'.repeat(200), '__proto__', 'constructor']
const NUMBERS = ['0', '1', '127', '128', '-1', '1764201600123456789', '9223372036854775807', '-9223372036854775808']

const random = randomOf(SEED)

function randomMessage(types: Types, name: string): Message {
  const type = types[name]
  if (type === undefined || !('fields' in type)) throw new Error(name)
  const entries = Object.entries(type.fields).filter(() => random.below(5) > 0)
  return Object.fromEntries(
    entries.map(([key, field]) => {
      const value = () => randomValue(types, field.type)
      if (field.keyType !== undefined) return [key, { [random.pick(['config', 'info', 'ü'])]: random.pick(TEXTS) }]
      return [key, field.rule === 'repeated' ? Array.from({ length: random.below(4) }, value) : value()]
    }),
  )
}

function randomValue(types: Types, type: string): unknown {
  if (type === 'string') return random.pick(TEXTS)
  if (type === 'bool') return random.below(2) === 0
  if (type === 'int32') return random.pick([0, 1, 999_999_999, -5, 2_147_483_647])
  if (type === 'int64') return random.pick(NUMBERS)
  const described = types[type]
  return described !== undefined && 'values' in described
    ? random.pick(Object.keys(described.values))
    : randomMessage(types, type)
}

for (const [service, { types }] of Object.entries(CRI_SERVICES)) {
  t.test(`the messages of ${service} are read and written as protobufjs does`, async (t) => {
    const root = protobuf.Root.fromJSON({ nested: types })
    const messages = Object.entries(types).flatMap(([name, type]) => ('fields' in type ? [name] : []))
    for (const name of messages) {
      const oracle = root.lookupType(name)
      let differing = 0
      for (let round = 0; round < ROUNDS; round += 1) {
        const message = randomMessage(types, name)
        const bytes = Buffer.from(oracle.encode(oracle.fromObject(message)).finish())
        const mine = encodeMessage(types, name, message)
        const same =
          t.same(decodeMessage(types, name, bytes), oracle.toObject(oracle.decode(bytes), READING)) &&
          t.same(decodeMessage(types, name, mine), oracle.toObject(oracle.decode(mine), READING))
        if (!same) differing += 1
        if (differing > 3) break
      }
    }
  })
}

t.test('what is not described is skipped, whatever its type', async (t) => {
  const types: Types = { Message: { fields: { name: { type: 'string', id: 2 } } } }
  const unknown = [
    [0x08, 0x96, 0x01],
    [0x19, 1, 2, 3, 4, 5, 6, 7, 8],
    [0x22, 2, 9, 9],
    [0x2d, 1, 2, 3, 4],
    // the number of `name` with the type of a number
    [0x10, 7],
  ]
  for (const bytes of unknown)
    t.same(decodeMessage(types, 'Message', Buffer.from([...bytes, 0x12, 1, 0x61])), { name: 'a' })
})

t.test('bytes that are no message are refused, at each place where they may end', async (t) => {
  const { types } = CRI_SERVICES['runtime.v1.RuntimeService'] ?? { types: {} }
  const whole = encodeMessage(types, 'StatusResponse', {
    status: { conditions: [{ type: 'RuntimeReady', status: true, message: 'm' }] },
    info: { config: '{}' },
  })
  const refused = Array.from(whole.keys(), (length) => whole.subarray(0, length)).filter((bytes) => {
    try {
      return decodeMessage(types, 'StatusResponse', bytes) === undefined
    } catch (error) {
      return error instanceof RangeError
    }
  })
  // All but the empty one and the one that ends between the two fields.
  t.equal(refused.length, whole.length - 2)
  for (const bytes of [Array(11).fill(0xff), [0x0b], [0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f]])
    t.throws(() => decodeMessage(types, 'StatusResponse', Buffer.from(bytes)), RangeError)
})

t.test('a value of an enum that this version does not know is told by its number', async (t) => {
  const { types } = CRI_SERVICES['runtime.v1.RuntimeService'] ?? { types: {} }
  t.match(decodeMessage(types, 'Container', Buffer.from([0x30, 9])), { state: '9' })
  t.throws(() => encodeMessage(types, 'Container', { state: 'CONTAINER_ON_FIRE' }), RangeError)
})
