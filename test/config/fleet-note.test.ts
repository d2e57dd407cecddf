import fc from 'fast-check'
import t from 'tap'
import { configDigest, digestOfConfigMap } from '../../agent/config/config-digest.ts'
import { parseNote, renderNote } from '../../agent/config/fleet-note.ts'
import { spreadDelayMs, takeUpDelayMs } from '../../agent/config/spread.ts'

const config = 'a'.repeat(64)
const hex = (length: number) =>
  fc.string({ unit: fc.constantFrom(...'0123456789abcdef'), minLength: length, maxLength: length })

t.test('what is rendered is read back', async () => {
  const grant = fc.record({ id: hex(16), generation: hex(12), ttlSeconds: fc.integer({ min: 1, max: 3600 }) })
  const labels = fc.dictionary(
    fc.constantFrom('pool', 'topology.kubernetes.io/zone', 'x.y/z'),
    fc.option(fc.constantFrom('', 'a', 'b-1.c_d'), { nil: null }),
  )
  const note = fc.record(
    { config: hex(64), nodes: fc.integer({ min: 1, max: 20_000 }), grant, labels },
    { requiredKeys: ['config', 'nodes'] },
  )
  fc.assert(
    fc.property(note, (value) => {
      const text = renderNote(value)
      return JSON.stringify(parseNote(text)) === text
    }),
  )
})

t.test('a note that cannot be understood is no note, and a grant that cannot be is no grant', async (t) => {
  const broken = ['', '{', '[]', 'null', '{}', `{"config":"${config}"}`, `{"config":"x","nodes":1}`, 'x'.repeat(5000)]
  for (const text of broken) t.equal(parseNote(text), undefined, text.slice(0, 40))
  for (const nodes of ['0', '-1', '1.5', '"1"', '1e999'])
    t.equal(parseNote(`{"config":"${config}","nodes":${nodes}}`), undefined, nodes)
  const good = { id: 'aaaaaaaa', generation: '0123456789ab', ttlSeconds: 120 }
  const grants = [
    { ...good, id: 'x' },
    { ...good, generation: 'abc' },
    { ...good, ttlSeconds: 0 },
    { ...good, ttlSeconds: 9e9 },
    7,
    [],
  ]
  for (const grant of grants)
    t.same(parseNote(JSON.stringify({ config, nodes: 3, grant })), { config, nodes: 3 }, JSON.stringify(grant))
  t.same(parseNote(JSON.stringify({ config, nodes: 3, grant: good })), { config, nodes: 3, grant: good })
  const many = Object.fromEntries(Array.from({ length: 17 }, (_, at) => [`l${at}`, 'x']))
  for (const labels of [7, [], 'x', { 'a b': 'x' }, { a: 'x y' }, { a: 1 }, { a: 'x'.repeat(64) }, many])
    t.same(parseNote(JSON.stringify({ config, nodes: 3, labels })), { config, nodes: 3 }, JSON.stringify(labels))
  // Throws for no text at all.
  fc.assert(fc.property(fc.oneof(fc.json(), fc.string()), (text) => void parseNote(text)))
})

t.test('the digest is the same from the object and from its files, whatever their order', async (t) => {
  const data = { 'trust.yaml': 'a: 1\n', 'ca.pem': 'ü' }
  const files = Object.entries(data).map(([name, text]) => ({ name, bytes: Buffer.from(text) }))
  t.equal(digestOfConfigMap({ data }), configDigest(files.toReversed()))
  t.equal(
    digestOfConfigMap({ data, binaryData: { b: 'AAE=' } }),
    configDigest([...files, { name: 'b', bytes: Buffer.from([0, 1]) }]),
  )
  t.not(digestOfConfigMap({ data: { a: 'b' } }), digestOfConfigMap({ data: { a: 'c' } }))
  t.not(digestOfConfigMap({ data: { a: 'x', b: '' } }), digestOfConfigMap({ data: { a: '', b: 'x' } }))
})

t.test('a grant is taken up at once; what the component has not told of yet waits for its telling', async (t) => {
  const [config, older] = ['c'.repeat(64), 'd'.repeat(64)]
  const change = { config, takenUp: older, note: { config, nodes: 5000 }, isNoteNew: true, spreadMs: 0 }
  const told = takeUpDelayMs('node-1', change)
  t.equal(told, spreadDelayMs('node-1', config, { nodes: 5000, spreadMs: 0 }))
  t.equal(takeUpDelayMs('node-1', { ...change, takenUp: config }), 0, 'the note alone is new')
  const secret = takeUpDelayMs('node-1', { ...change, takenUp: config, isNoteNew: false })
  t.equal(secret, told, 'a Secret is spread too')
  const early = takeUpDelayMs('node-1', { ...change, note: { config: older, nodes: 5000 }, isNoteNew: false })
  t.ok(early > 2 * told && early < 175_000, `${early} ms`)
  t.equal(takeUpDelayMs('node-1', { ...change, note: undefined }), 0)
})

t.test('5,000 nodes spread a change evenly over 75 seconds, three nodes do not wait', async (t) => {
  const delays = Array.from({ length: 5000 }, (_, index) =>
    spreadDelayMs(`node-${index}`, config, { nodes: 5000, spreadMs: 0 }),
  )
  const perSecond = new Map<number, number>()
  for (const delay of delays)
    perSecond.set(Math.floor(delay / 1000), (perSecond.get(Math.floor(delay / 1000)) ?? 0) + 1)
  t.ok(Math.max(...delays) < 75_000)
  t.ok(Math.max(...perSecond.values()) < 110, `${Math.max(...perSecond.values())} within one second; 67 on average`)
  t.ok(spreadDelayMs('node-1', config, { nodes: 3, spreadMs: 60_000 }) < 45, 'the note counts, not drift.spread')
  t.equal(spreadDelayMs('node-1', config, { nodes: undefined, spreadMs: 0 }), 0)
  t.ok(spreadDelayMs('node-1', config, { nodes: undefined, spreadMs: 60_000 }) < 60_000)
  t.equal(delays[7], spreadDelayMs('node-7', config, { nodes: 5000, spreadMs: 0 }), 'the same each time')
})
