import t from 'tap'
import { crictlEndpoint, LAYOUTS, layoutsOfSocket } from '../../agent/containerd/layouts.ts'

t.test('searches the plain layout first', async (t) => {
  t.equal(LAYOUTS[0]?.name, 'plain')
  t.equal(LAYOUTS[0]?.sockets[0], '/run/containerd/containerd.sock')
})

t.test('every layout is complete, with absolute paths and unit names', async (t) => {
  for (const { name, sockets, configFile, certsDirectory, units } of LAYOUTS) {
    t.ok(sockets.length > 0 && units.length > 0, name)
    for (const path of [...sockets, configFile, certsDirectory]) t.match(path, /^\/[^:]+$/, `${name}: ${path}`)
    for (const unit of units) t.match(unit, /^[\w.-]+\.service$/, `${name}: ${unit}`)
  }
  t.equal(new Set(LAYOUTS.map(({ name }) => name)).size, LAYOUTS.length)
})

t.test('k3s and RKE2 share a socket', async (t) => {
  const names = layoutsOfSocket('/run/k3s/containerd/containerd.sock').map(({ name }) => name)
  t.strictSame(names, ['k3s', 'rke2'])
  t.strictSame(layoutsOfSocket('/run/other.sock'), [])
})

t.test('reads the socket in crictl.yaml', async (t) => {
  const table = {
    'runtime-endpoint: unix:///run/containerd/containerd.sock\n': '/run/containerd/containerd.sock',
    'image-endpoint: unix:///i.sock\nruntime-endpoint: "unix:///run/a.sock"\ntimeout: 10\n': '/run/a.sock',
    "runtime-endpoint: 'unix:///run/a.sock' # k3s\r\n": '/run/a.sock',
    'runtime-endpoint: /run/a.sock\n': '/run/a.sock',
    'runtime-endpoint: unix:/run/a.sock\n': '/run/a.sock',
    'runtime-endpoint:   unix:///run/a.sock   # comment\n': '/run/a.sock',
  }
  for (const [text, socket] of Object.entries(table)) t.equal(crictlEndpoint(text), socket, text)
})

t.test('finds no socket where crictl.yaml names none', async (t) => {
  for (const text of [
    '',
    'runtime-endpoint: ""\n',
    'runtime-endpoint:\nimage-endpoint: unix:///i.sock\n',
    '# runtime-endpoint: unix:///run/a.sock\n',
    'runtime-endpoint: tcp://127.0.0.1:1234\n',
    'runtime-endpoint: npipe:////./pipe/containerd\n',
    'image-endpoint: unix:///i.sock\n',
    '{ not: [yaml',
  ])
    t.equal(crictlEndpoint(text), undefined, text)
})
