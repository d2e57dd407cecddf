import fc from 'fast-check'
import t from 'tap'
import { checkDeclaredHost, checkRegistryHost, hostName } from '../../agent/config/reading/registry-host.ts'

t.test('accepts the hosts that image references can name', async (t) => {
  const hosts = [
    'harbor.example.net',
    'harbor.example.net:8443',
    'registry:5000',
    'h-1.lab',
    '10.1.2.3',
    '10.1.2.3:5000',
    'xn--kln-sna.example',
    'a.b:1',
    'docker.io',
    '1.2.3.4.example',
    `${'a'.repeat(63)}.net:65535`,
  ]
  for (const host of hosts) t.equal(checkRegistryHost(host), undefined, host)
})

const HOST = 'must be a host such as harbor.example.net or harbor.example.net:8443, found'
const LOOPBACK = 'containerd does not verify certificates there, so trust can be neither set nor proved'

const REFUSED: readonly (readonly [string, string])[] = [
  [
    'https://harbor.example.net',
    'must be a host without a scheme, found "https://harbor.example.net": write the host alone: harbor.example.net',
  ],
  [
    'HTTP://Harbor.Example.Net:80/v2/',
    'must be a host without a scheme, found "HTTP://Harbor.Example.Net:80/v2/": write the host alone: harbor.example.net:80',
  ],
  [
    'harbor.example.net/library',
    'must be a host without a path, found "harbor.example.net/library": write the host alone: harbor.example.net',
  ],
  [
    'harbor.example.net/',
    'must be a host without a path, found "harbor.example.net/": write the host alone: harbor.example.net',
  ],
  ['/etc', 'must be a host without a path, found "/etc": write the host alone'],
  ['../../etc', 'must be a host without a path, found "../../etc": write the host alone'],
  ['user:hunter2@harbor.example.net', 'must not hold a user or a password: write the host alone: harbor.example.net'],
  ['https://u:hunter2@h.net/x', 'must not hold a user or a password: write the host alone: h.net'],
  ['user:1234/5@h.net/x', 'must not hold a user or a password: write the host alone: h.net'],
  ['harbor example.net', 'must not hold spaces or control characters, found "harbor example.net"'],
  ['harbor.net\n', 'must not hold spaces or control characters, found "harbor.net\\n"'],
  ['a\u0000b.net', 'must not hold spaces or control characters, found "a\\u0000b.net"'],
  [
    '_default',
    'must name one host: "_default" is containerd\'s folder for all other hosts, which this agent leaves alone',
  ],
  ['*.example.net', 'must name one host: a wildcard cannot be part of a name, found "*.example.net"'],
  ['localhost', `must not be a loopback address, found "localhost": ${LOOPBACK}`],
  ['localhost:5000', `must not be a loopback address, found "localhost:5000": ${LOOPBACK}`],
  ['127.0.0.1:5000', `must not be a loopback address, found "127.0.0.1:5000": ${LOOPBACK}`],
  ['127.9.9.9', `must not be a loopback address, found "127.9.9.9": ${LOOPBACK}`],
  ['::1', `must not be a loopback address, found "::1": ${LOOPBACK}`],
  ['[::1]:5000', `must not be a loopback address, found "[::1]:5000": ${LOOPBACK}`],
  ['[0:0::0:1]', `must not be a loopback address, found "[0:0::0:1]": ${LOOPBACK}`],
  ['[::ffff:127.0.0.1]:5000', `must not be a loopback address, found "[::ffff:127.0.0.1]:5000": ${LOOPBACK}`],
  [
    '[2001:db8::1]:5000',
    'must be a name or an IPv4 address: image references with IPv6 addresses are not supported, found "[2001:db8::1]:5000"',
  ],
  ['2001:db8::1', `${HOST} "2001:db8::1"`],
  ['[harbor.net]', `${HOST} "[harbor.net]"`],
  ['harbor.net:', 'must have a port from 1 to 65535 without leading zeros after the colon, found "harbor.net:"'],
  ['harbor.net:0', 'must have a port from 1 to 65535 without leading zeros after the colon, found "harbor.net:0"'],
  [
    'harbor.net:65536',
    'must have a port from 1 to 65535 without leading zeros after the colon, found "harbor.net:65536"',
  ],
  [
    'harbor.net:08443',
    'must have a port from 1 to 65535 without leading zeros after the colon, found "harbor.net:08443"',
  ],
  [
    'harbor.net:80:81',
    'must have a port from 1 to 65535 without leading zeros after the colon, found "harbor.net:80:81"',
  ],
  [
    'harbor.net:https',
    'must have a port from 1 to 65535 without leading zeros after the colon, found "harbor.net:https"',
  ],
  [
    'Harbor.Example.Net:8443',
    'must be in lower case, found "Harbor.Example.Net:8443"; did you mean harbor.example.net:8443?',
  ],
  ['köln.example', 'must be written in ASCII, found "köln.example"; did you mean xn--kln-sna.example?'],
  [
    'my_registry.lab:5000',
    'cannot have a port beside "_", which image references do not allow, found "my_registry.lab:5000"',
  ],
  [
    '_my.registry.lab',
    'must have "_" only between letters or digits, as image references allow it, found "_my.registry.lab"',
  ],
  ['harbor.example.net.', 'must not end with a dot, found "harbor.example.net."; did you mean harbor.example.net?'],
  ['a..b', `${HOST} "a..b"`],
  ['..', `${HOST} ".."`],
  ['.', `${HOST} "."`],
  ['-a.net', `${HOST} "-a.net"`],
  ['a-.net', `${HOST} "a-.net"`],
  [':5000', `${HOST} ":5000"`],
  ['10.0.0.300', 'must be a name or a valid IPv4 address, found "10.0.0.300"'],
  ['1.2.3', 'must be a name or a valid IPv4 address, found "1.2.3"'],
  ['harbor', 'must hold a dot or a port: containerd reads harbor/IMAGE as docker.io/harbor/IMAGE, found "harbor"'],
]

t.test('refuses everything else, and says what to write', async (t) => {
  for (const [host, expected] of REFUSED) t.equal(checkRegistryHost(host)?.text, expected, host)
  const long = `${'a'.repeat(64)}.net`
  t.match(
    checkRegistryHost(long)?.text,
    'is too long: a host has at most 253 characters, each part between dots at most 63',
  )
  t.match(checkRegistryHost(`${'a.'.repeat(130)}net`)?.text, 'is too long')
  t.equal(checkRegistryHost('[2001:db8::1]')?.code, 'CONFIG_NOT_SUPPORTED_YET')
  t.equal(checkRegistryHost('harbor')?.code, 'CONFIG_INVALID')
})

t.test('whatever passes is one folder name and says the host only', async (t) => {
  const parts = fc.constantFrom(
    'a',
    'harbor',
    '.',
    '..',
    '/',
    ':',
    '5000',
    '-',
    '_',
    '@',
    '[',
    ']',
    '::1',
    '*',
    ' ',
    'É',
    '\\',
    '%',
    '127.0.0.1',
  )
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(parts, { maxLength: 8 }).map((all) => all.join('')),
      ),
      (host) => {
        if (checkRegistryHost(host) !== undefined) return true
        return (
          /^([a-z0-9.-]+(:[0-9]+)?|[a-z0-9._-]+)$/.test(host) &&
          !host.startsWith('.') &&
          !host.includes('..') &&
          host.length < 260
        )
      },
    ),
    { numRuns: 3000 },
  )
  t.pass('3000 texts')
})

t.test('never repeats a password', async (t) => {
  fc.assert(
    fc.property(fc.string(), fc.string(), (before, after) => {
      const text = checkRegistryHost(`${before}hunter2@${after}`)?.text
      return text !== undefined && (!text.includes('hunter2') || after.includes('hunter2'))
    }),
  )
  t.pass('no text repeats it')
})

t.test('tells the host without the port', async (t) => {
  t.same(['a.b:1', 'a.b', '[::1]:5', '[::1]'].map(hostName), ['a.b', 'a.b', '[::1]', '[::1]'])
})

t.test('the name of Docker Hub under which containerd looks for no image is refused as a registry alone', async (t) => {
  const text = 'must be docker.io: containerd reads index.docker.io/IMAGE as docker.io/IMAGE, found "index.docker.io"'
  t.same(checkDeclaredHost('index.docker.io'), { code: 'CONFIG_INVALID', text })
  t.equal(checkRegistryHost('index.docker.io'), undefined, 'as an endpoint it is one like others')
  for (const host of ['docker.io', 'registry-1.docker.io', 'index.docker.io:443'])
    t.equal(checkDeclaredHost(host), undefined, host)
})
