import t from 'tap'
import { checkTree, chooseHost, directoryNames, type HostDirectory } from '../../../agent/containerd/hosts/lookup.ts'

const CERTS = '/etc/containerd/certs.d'
const GOOD = 'server = "https://h.example"\nca = "ca.crt"\n[host]\n'

function directory(name: string, files: { readonly [name: string]: string }): HostDirectory {
  return { name, files: new Map(Object.entries(files).map(([file, text]) => [file, Buffer.from(text)])) }
}

t.test('containerd looks for the underscore spelling first and for _default last', async (t) => {
  t.same(directoryNames('h.example:5000'), ['h.example_5000_', 'h.example:5000', '_default'])
  t.same(directoryNames('h.example'), ['h.example', '_default'])
})

t.test('what a pull uses: the first folder that exists, whatever it holds', async (t) => {
  const fallback = directory('_default', { 'ca.crt': 'x' })
  t.match(chooseHost('h.example', [fallback]), { kind: 'certificates', directory: '_default', names: ['ca.crt'] })
  t.match(chooseHost('h.example', [fallback, directory('h.example', {})]), { kind: 'empty', directory: 'h.example' })
  t.match(chooseHost('h.example', [directory('h.example', { 'hosts.toml': GOOD })]), { kind: 'hosts-file' })
  t.match(chooseHost('h.example', [directory('h.example', { 'hosts.toml': 'ca = [', 'ca.crt': 'x' })]), {
    kind: 'certificates',
    broken: /./,
  })
  t.same(chooseHost('h.example', []), { kind: 'none' })
})

t.test('everything that does nothing although its author meant something', async (t) => {
  const cases: readonly [string, HostDirectory, RegExp, 'error' | 'warning'][] = [
    ['an empty folder', directory('h.example', {}), /hides _default/, 'warning'],
    ['a misspelt file', directory('h.example', { 'host.toml': GOOD }), /hosts\.toml only/, 'error'],
    ['a broken file', directory('h.example', { 'hosts.toml': 'server = \n' }), /ignores the file/, 'error'],
    [
      'a byte order mark',
      directory('h.example', { 'hosts.toml': `\uFEFF${GOOD}`, 'ca.crt': 'x' }),
      /byte order mark/,
      'error',
    ],
    ['ca.pem without hosts.toml', directory('h.example', { 'ca.pem': 'x' }), /\*\.crt only/, 'error'],
    ['a CA that is not there', directory('h.example', { 'hosts.toml': GOOD }), /does not exist/, 'error'],
    [
      'certificates that no ca names',
      directory('h.example', { 'hosts.toml': '[host]\n', 'ca.crt': 'x' }),
      /names no ca/,
      'warning',
    ],
    [
      'no [host] table',
      directory('h.example', { 'hosts.toml': 'ca = "ca.crt"\n', 'ca.crt': 'x' }),
      /1\.7\.32/,
      'warning',
    ],
  ]
  for (const [name, one, message, severity] of cases) {
    const found = checkTree(CERTS, [one])
    t.ok(
      found.some((finding) => message.test(finding.message) && finding.severity === severity),
      `${name}: ${JSON.stringify(found)}`,
    )
    t.ok(
      found.every(({ path, remedy }) => path.startsWith(`${CERTS}/h.example`) && remedy.length > 10),
      name,
    )
  }
})

t.test('both spellings of a port: the one with the colon is never looked into', async (t) => {
  const files = { 'hosts.toml': GOOD, 'ca.crt': 'x' }
  const found = checkTree(CERTS, [directory('h.example:5000', files), directory('h.example_5000_', files)])
  t.match(found, [{ severity: 'error', path: `${CERTS}/h.example:5000`, message: /uses h\.example_5000_/ }])
})

t.test('a right folder is no finding', async (t) => {
  t.same(checkTree(CERTS, [directory('h.example', { 'hosts.toml': GOOD, 'ca.crt': 'x' })]), [])
})
