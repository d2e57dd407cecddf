import t from 'tap'
import { expandCommand } from '../../../agent/node/systemd/command-line.ts'

const FLATCAR = ['/usr/bin/containerd', '--config', '${TORCX_UNPACKDIR}${TORCX_IMAGEDIR}${CONTAINERD_CONFIG}']

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
  const words = ['x', '${ONE}', '$ONE', '$TWO', '${TWO}', 'a${ONE}b', '$EMPTY', '${EMPTY}', '$$ONE', '$MISSING', '$1']
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
  t.same(expandCommand(['${ONE}'], { entries, hasFiles: false }), ['${ONE}'], 'the program is no word of these')
})
