import t from 'tap'
import { formatProblems, formatStatus, worstFirst } from '../../../agent/cli/output/status.ts'
import { coloured, harmless, painter, plain, table } from '../../../agent/cli/output/terminal.ts'
import type { NodeStatus } from '../../../agent/model/status.ts'
import { NOW, SAMPLE } from '../../fixtures/http/sample-status.ts'

t.test('the whole status as text', async (t) => {
  t.equal(
    formatStatus(SAMPLE, { now: NOW }),
    `node          worker-1
state         drifted
restart due   config_path is not loaded yet
containerd    2.1.9, /run/containerd/containerd.sock, plain
config file   /etc/containerd/config.toml, version 3
config_path   /etc/containerd/certs.d
desired       0a1b2c3d4e5f from /etc/registry-trust/trust.yaml, mode enforce
targets       system-trust in sync, containerd-hosts 1 to change
agent         0.1.0
last restart  2026-11-20T09:00:00.000Z succeeded: config_path

PROBLEMS
  CONFIG_INVALID  trust.yaml:3:5: unknown key
    fix: Correct the file.

WARNINGS
  the sandbox image pause:3.9 is not on this node
    fix: Pull it.

REGISTRIES
  STATE      REGISTRY                   FINDING            SINCE       LAST PROOF
  untrusted  harbor.example.net         unknown-authority  60 min ago  manifest (live) 2 min ago, 42 ms
  unproved   new.example.net            not-proved-yet                 never
  trusted    registry.example.net:5000  trusted            25 h ago    pull (live) 60 s ago, 120 ms

  harbor.example.net: the certificate of harbor.example.net is issued by an authority this node does not know
    fix: Declare the CA.
    containerd says: x509: certificate signed by unknown authority
    served by CN=harbor <script>alert(1)</script>

  new.example.net: not proved yet
    fix: Wait.

DRIFT
  KIND     PATH                                               TARGET            WHY
  changed  /etc/containerd/certs.d/harbor.example.net/ca.crt  containerd-hosts  its content differs

ANCHORS
  NAME       EXPIRES              SUBJECT                FINGERPRINT               INSTALLED
  corp-root  2026-12-01 (in 9 d)  CN=Corp Root           sha256:abababababababab…  2 files
  lab                             no usable certificate                            0 files

  lab: ANCHOR_EMPTY lab.pem has no bytes
    fix: Put the certificate into it.

LAST TRANSACTIONS
  WHEN      RESULT     WHAT                             WHY
  26 h ago  committed  3 changed, containerd restarted  first apply
`,
  )
})

t.test('an empty node says so without empty tables', async (t) => {
  const empty: NodeStatus = {
    ...SAMPLE,
    generation: '',
    state: 'no-containerd',
    containerd: { version: null, socket: null, configFile: null, configVersion: null, configPath: null, layout: null },
    anchors: [],
    registries: [],
    targets: [],
    drift: [],
    restart: { pending: false, reason: null, last: null },
    transactions: [],
    problems: [],
    warnings: [],
    sources: [],
  }
  t.equal(
    formatStatus(empty, { now: NOW }),
    `node         worker-1
state        no-containerd
containerd   not reached
config file  none
config_path  not set
desired      none yet, mode enforce
agent        0.1.0

REGISTRIES
  none declared
`,
  )
})

t.test('worst comes first, and equals keep their order', async (t) => {
  t.strictSame(
    worstFirst(SAMPLE.registries).map(({ state }) => state),
    ['untrusted', 'unproved', 'trusted'],
  )
})

t.test('colour changes nothing but colour: the text without it is the same, columns included', async (t) => {
  const withColour = formatStatus(SAMPLE, { now: NOW, paint: coloured })
  t.ok(withColour.includes('\u001b[31muntrusted\u001b[0m'))
  t.equal(withColour.replace(/\p{Cc}\[\d+m/gu, ''), formatStatus(SAMPLE, { now: NOW }))
})

t.test('colour is for terminals only, and never against NO_COLOR', async (t) => {
  t.equal(painter(true, {}), coloured)
  t.equal(painter(true, { NO_COLOR: '' }), coloured, 'empty does not count')
  t.equal(painter(false, {}), plain)
  t.equal(painter(true, { NO_COLOR: '1' }), plain)
  t.equal(painter(true, { TERM: 'dumb' }), plain)
})

t.test('nothing from elsewhere can steer the terminal or add a line', async (t) => {
  t.equal(harmless('a\u001b[2Jb\r\n  c\td\u202ee\u009bf'), 'a\ufffd[2Jb c d\ufffde\ufffdf')
  const hostile: unknown = JSON.parse(JSON.stringify(SAMPLE), (_key, value: unknown) =>
    typeof value === 'string' ? `${value}\u001b[2J\nforged` : value,
  )
  const text = formatStatus({ ...(hostile as NodeStatus), state: 'drifted' }, { now: NOW })
  t.notOk(text.includes('\u001b'))
  t.notMatch(text, /^forged/m)
})

t.test('a table has columns as wide as their widest cell and no space at the end of a line', async (t) => {
  t.equal(
    table(
      [
        ['a', 'bbb', ''],
        ['aaaa', '', 'é'],
        ['', '', ''],
      ],
      { header: ['H', '', 'X'], indent: 1 },
    ),
    ' H          X\n a     bbb\n aaaa       é\n\n',
  )
  t.equal(table([]), '')
})

t.test('problems are shown with what to do', async (t) => {
  t.equal(formatProblems([]), '')
  t.equal(
    formatProblems(SAMPLE.problems),
    'PROBLEMS\n  CONFIG_INVALID  trust.yaml:3:5: unknown key\n    fix: Correct the file.\n',
  )
})
