// Addresses as Go and containerd read them.
import t from 'tap'
import {
  defaultEndpoint,
  isReferenceHost,
  needsOverridePath,
  parseHostsUrl,
  parseMirrorEndpoint,
  renderEndpoint,
} from '../../../agent/containerd/hosts/endpoint.ts'

t.test('an address keeps its port and path as written, and loses what containerd does not send', async (t) => {
  const read = (text: string) => {
    const endpoint = parseMirrorEndpoint(text)
    return endpoint === undefined ? undefined : renderEndpoint(endpoint)
  }
  t.equal(read('https://A.test:443/v2/'), 'https://A.test:443/v2/')
  t.equal(read('HTTP://a.test'), 'http://a.test')
  t.equal(read('https://user:p@ss@a.test:5000/x?y=z#f'), 'https://a.test:5000/x')
  t.equal(read('a.test:5000/cache'), 'https://a.test:5000/cache')
  t.equal(read('[fd00::1]:5000'), 'https://[fd00::1]:5000')
  for (const local of ['localhost:5000', '127.0.0.1', '127.1.2.3:80', '[::1]:5000'])
    t.equal(read(local), `http://${local}`)
  t.equal(read('127.test'), 'https://127.test')
  for (const bad of ['', 'ftp://a.test', 'unix:///x', 'https://', 'https:///v2', 'a b'])
    t.equal(read(bad), undefined, bad)
})

t.test('in hosts.toml an address without a scheme is https, local or not', async (t) => {
  t.same(parseHostsUrl('localhost:5000'), { scheme: 'https', host: 'localhost:5000', path: '' })
  t.same(parseHostsUrl('http://a.test/'), { scheme: 'http', host: 'a.test', path: '/' })
})

t.test('only a path that does not end in /v2 has to override', async (t) => {
  const needs = (path: string) => needsOverridePath({ scheme: 'https', host: 'a.test', path })
  t.same(['', '/v2', '/v2/', '/x/v2'].map(needs), [false, false, false, false])
  t.same(['/', '/x', '/v2/x', '/xv2'].map(needs), [true, true, true, true])
})

t.test('a host that nothing is said of is asked at its own name', async (t) => {
  t.equal(renderEndpoint(defaultEndpoint('a.test:5000')), 'https://a.test:5000')
  t.equal(renderEndpoint(defaultEndpoint('docker.io')), 'https://registry-1.docker.io')
  t.equal(renderEndpoint(defaultEndpoint('localhost:5000')), 'http://localhost:5000')
})

t.test('the name of a host folder is what an image reference can begin with', async (t) => {
  for (const good of ['a.test', 'a.test:5000', 'localhost', '10.0.0.1:80', '[fd00::1]:5000', 'A-b.test'])
    t.ok(isReferenceHost(good), good)
  for (const bad of [
    '',
    '*',
    '..',
    '.',
    'a/b',
    '../x',
    'https://a.test',
    'a.test:',
    'a.test:x',
    '-a',
    'a\n',
    '_default',
  ])
    t.notOk(isReferenceHost(bad), bad)
})
