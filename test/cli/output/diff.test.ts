import t from 'tap'
import { fileDiffs, formatDiffs, withoutSecrets } from '../../../agent/cli/output/diff.ts'
import { plain } from '../../../agent/cli/output/terminal.ts'
import type { Change, FileContent } from '../../../agent/model/plan.ts'
import type { FileState } from '../../../agent/model/ports.ts'

const CANARY = 'S3cr3tC4nary'
const OWN = { mode: 0o644, uid: 0, gid: 0 }

function file(text: string | Buffer): FileContent & FileState {
  return { kind: 'file', bytes: Buffer.from(text), ...OWN, mtimeMs: 0 }
}

function change(path: string, after: Change['after']): Change {
  const rest = { reason: 'r', subject: 's', folder: '/etc', owns: [], forgets: [] }
  return { target: 'containerd-hosts', action: 'update', path, after, ...rest }
}

async function shown(changes: readonly Change[], there: { readonly [path: string]: FileState } = {}): Promise<string> {
  return formatDiffs(await fileDiffs(changes, async (path) => there[path] ?? { kind: 'absent' }), plain)
}

t.test('a file that comes, one that changes, one that goes, and a folder with its files', async (t) => {
  const tree = {
    kind: 'tree',
    mode: 0o755,
    files: [{ name: 'ca.crt', content: { kind: 'file', bytes: Buffer.from('PEM\n'), ...OWN } }],
  } as const
  const text = await shown(
    [
      change('/etc/a', file('1\n2\n')),
      change('/etc/b', { kind: 'absent' }),
      change('/etc/c', tree),
      change('/etc/d', { kind: 'link', to: 'a' }),
    ],
    { '/etc/a': file('1\n'), '/etc/b': file('x\n') },
  )
  t.equal(
    text,
    [
      '--- /etc/a\n+++ /etc/a\n@@ -1 +1,2 @@\n 1\n+2\n',
      '--- /etc/b\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n',
      '--- /dev/null\n+++ /etc/c/ca.crt\n@@ -0,0 +1 @@\n+PEM\n',
      '--- /dev/null\n+++ /etc/d\n@@ -0,0 +1 @@\n+link to a\n',
    ].join('\n'),
  )
})

t.test('no secret is shown, of either side, wherever it stands', async (t) => {
  const places = [
    `password = "${CANARY}"`,
    `  auth: ${CANARY}`,
    `"identitytoken": "${CANARY}"`,
    `[host."https://x".header]\n  X-Custom = ["${CANARY}"]`,
    `Authorization = ["Basic ${CANARY}"]`,
    `server = "https://user:${CANARY}@x"`,
    `-----BEGIN PRIVATE KEY-----\n${CANARY}\n-----END PRIVATE KEY-----`,
    `-----BEGIN RSA PRIVATE KEY-----\n${CANARY}`,
  ]
  for (const place of places) {
    for (const [before, after] of [
      ['old\n', `${place}\n`],
      [`${place}\n`, 'new\n'],
      [`a\n${place}\n`, `b\n${place}\n`],
    ] as const) {
      const text = await shown([change('/etc/x', file(after))], { '/etc/x': file(before) })
      t.notMatch(text, CANARY, place)
      t.match(text, '--- /etc/x')
    }
  }
  t.equal(
    withoutSecrets('[host."x"]\n  ca = "/x.crt"\n'),
    '[host."x"]\n  ca = "/x.crt"\n',
    'and nothing else is hidden',
  )
})

t.test('what differs only in a secret, and what is no text, is told', async (t) => {
  const differs = await shown([change('/x', file('password = "b"\n'))], { '/x': file('password = "a"\n') })
  t.match(differs, /only what is not shown here differs/)
  t.match(await shown([change('/x', file(Buffer.from([0, 1])))]), /this is not text/)
  t.match(await shown([change('/x', file('x'.repeat(2 ** 20 + 1)))]), /1048577 bytes are too many to show/)
})

t.test('a terminal is not told what to do by a file', async (t) => {
  t.notMatch(await shown([change('/x', file('\u001b[2J\n'))]), '\u001b')
})
