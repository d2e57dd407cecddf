import t from 'tap'
import { expandCommand } from '../../../agent/node/systemd/command-line.ts'

/** A variable as it stands within a word. */
const braced = (name: string) => `\${${name}}`
const FLATCAR = [
  '/usr/bin/containerd',
  '--config',
  ['TORCX_UNPACKDIR', 'TORCX_IMAGEDIR', 'CONTAINERD_CONFIG'].map(braced).join(''),
]

t.test('the unit of Flatcar names its configuration by variables, two of which nobody sets', async (t) => {
  const entries = ['PATH=/usr/bin:/opt/bin', 'CONTAINERD_CONFIG=/usr/share/containerd/config.toml']
  t.same(expandCommand(FLATCAR, { entries, hasFiles: false }), [
    '/usr/bin/containerd',
    '--config',
    '/usr/share/containerd/config.toml',
  ])
  const overridden = [...entries, 'CONTAINERD_CONFIG=/etc/containerd/config.toml']
  t.equal(expandCommand(FLATCAR, { entries: overridden, hasFiles: false })[2], '/etc/containerd/config.toml')
})

t.test('a variable that a file may set stays as it is, and is no path', async (t) => {
  t.same(expandCommand(FLATCAR, { entries: [], hasFiles: true }), FLATCAR)
})

t.test('words as systemd.service(5) has them', async (t) => {
  const entries = ['ONE=one', 'TWO=two two', 'EMPTY=', 'BARE']
  const [one, two, empty] = ['ONE', 'TWO', 'EMPTY'].map(braced)
  const words = ['x', one, '$ONE', '$TWO', two, `a${one}b`, '$EMPTY', empty, '$$ONE', '$MISSING', '$1'].map(String)
  t.same(expandCommand(words, { entries, hasFiles: false }), [
    'x',
    'one',
    'one',
    'two',
    'two',
    'two two',
    'aoneb',
    '',
    '$ONE',
    '$1',
  ])
  t.same(expandCommand([], { entries, hasFiles: false }), [])
  t.same(expandCommand([braced('ONE')], { entries, hasFiles: false }), [braced('ONE')], 'the program is no such word')
})
