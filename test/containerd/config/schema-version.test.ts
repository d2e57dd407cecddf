import t from 'tap'
import {
  acceptedSchemas,
  CONFIG_SCHEMAS,
  isAtLeast,
  parseContainerdVersion,
  schemaForNewFile,
} from '../../../agent/containerd/config/schema-version.ts'

const version = (text: string) => {
  const parsed = parseContainerdVersion(text)
  if (parsed === undefined) throw new Error(`not a version: ${text}`)
  return parsed
}

t.test('reads the version strings that real builds report', async (t) => {
  const table = {
    '1.6.20~ds1': [1, 6, 20],
    '1.7.24~ds1': [1, 7, 24],
    'v2.1.9': [2, 1, 9],
    '2.1.9+unknown': [2, 1, 9],
    'v1.7.27-k3s1': [1, 7, 27],
    'v2.0.5-k3s2.32': [2, 0, 5],
    '2.3.0-rc.1': [2, 3, 0],
    '1.7.0+bottlerocket': [1, 7, 0],
    'v2.2': [2, 2, 0],
    ' 1.6.33\n': [1, 6, 33],
  }
  for (const [text, [major, minor, patch]] of Object.entries(table))
    t.strictSame(parseContainerdVersion(text), { major, minor, patch }, text)
})

t.test('takes a build without a number for unknown', async (t) => {
  for (const text of ['', 'unknown', 'v', 'dev', '1', 'v2', '1.2.3.4', '99999.1', 'version 1.6.20'])
    t.equal(parseContainerdVersion(text), undefined, text)
})

t.test('knows which schemas each generation really uses', async (t) => {
  t.strictSame(acceptedSchemas(version('1.6.20~ds1')), [1, 2])
  t.strictSame(acceptedSchemas(version('1.7.24')), [1, 2])
  t.strictSame(acceptedSchemas(version('2.0.0')), [2, 3])
  t.strictSame(acceptedSchemas(version('v2.1.9')), [2, 3])
  t.strictSame(acceptedSchemas(version('2.2.1')), [2, 3])
  t.strictSame(acceptedSchemas(version('2.3.0')), [2, 3, 4])
  t.strictSame(acceptedSchemas(version('3.0.0')), [2, 3, 4])
})

t.test('writes a new file in the schema that every release of the generation reads', async (t) => {
  t.equal(schemaForNewFile(version('1.6.20')), 2)
  t.equal(schemaForNewFile(version('1.7.24')), 2)
  t.equal(schemaForNewFile(version('2.0.0')), 3)
  t.equal(schemaForNewFile(version('2.3.1')), 3)
})

t.test('compares versions by number', async (t) => {
  t.ok(isAtLeast(version('2.10.0'), 2, 9))
  t.ok(isAtLeast(version('3.0.0'), 2, 9))
  t.notOk(isAtLeast(version('2.0.9'), 2, 1))
  t.notOk(isAtLeast(version('1.9.0'), 2, 0))
})

t.test('finds the registry table of each schema', async (t) => {
  t.strictSame(CONFIG_SCHEMAS[1].registry, ['plugins', 'cri', 'registry'])
  t.strictSame(CONFIG_SCHEMAS[2].registry, ['plugins', 'io.containerd.grpc.v1.cri', 'registry'])
  for (const schema of [3, 4] as const)
    t.strictSame(CONFIG_SCHEMAS[schema].registry, ['plugins', 'io.containerd.cri.v1.images', 'registry'])
})
