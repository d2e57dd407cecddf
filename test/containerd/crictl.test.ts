// /etc/crictl.yaml: the socket it names, read, written and taken out again.
import { writeFileSync } from 'node:fs'
import t from 'tap'
import { crictlEndpointOf, isSameSocket, nameSocket, withoutSocket } from '../../agent/containerd/crictl.ts'
import type { ContainerdFacts } from '../../agent/model/observed-state.ts'
import { nodeFiles } from '../../agent/node/files/files.ts'
import { examineCrictl } from '../../agent/targets/crictl/examine.ts'

const SOCKET = '/run/containerd/containerd.sock'
const RUNTIME = `runtime-endpoint: unix://${SOCKET} # registry-trust-agent\n`
const IMAGE = `image-endpoint: unix://${SOCKET} # registry-trust-agent\n`

const CASES: readonly (readonly [name: string, before: string, after: string])[] = [
  ['a file that is not there yet', '', `${RUNTIME}${IMAGE}`],
  [
    'other settings and comments stay',
    '# ours\ntimeout: 10\ndebug: false\n',
    `# ours\ntimeout: 10\ndebug: false\n${RUNTIME}${IMAGE}`,
  ],
  ['no last line end', 'timeout: 10', `timeout: 10\n${RUNTIME}${IMAGE}`.trimEnd()],
  [
    'another socket is replaced and kept as a comment',
    'runtime-endpoint: unix:///var/run/dockershim.sock # old\ntimeout: 2\n',
    `# replaced by registry-trust-agent: runtime-endpoint: unix:///var/run/dockershim.sock # old\n${RUNTIME}timeout: 2\n${IMAGE}`,
  ],
  [
    'an empty value',
    'runtime-endpoint: ""\n',
    `# replaced by registry-trust-agent: runtime-endpoint: ""\n${RUNTIME}${IMAGE}`,
  ],
  [
    'the right socket in other words stays as it is',
    `runtime-endpoint: "unix:///var${SOCKET}"\nimage-endpoint: ${SOCKET}\n`,
    `runtime-endpoint: "unix:///var${SOCKET}"\nimage-endpoint: ${SOCKET}\n`,
  ],
  ['line ends of Windows', 'timeout: 10\r\n', `timeout: 10\r\n${RUNTIME}${IMAGE}`.replaceAll(/(?<!\r)\n/g, '\r\n')],
]

for (const [name, before, after] of CASES)
  t.test(`names the socket: ${name}`, async (t) => {
    t.same(nameSocket(before, SOCKET), { ok: true, text: after })
    t.same(nameSocket(after, SOCKET), { ok: true, text: after }, 'a second time changes nothing')
    t.equal(withoutSocket(after), before, 'and it comes out again')
    for (const key of ['runtime-endpoint', 'image-endpoint'] as const)
      t.ok(isSameSocket(crictlEndpointOf(after, key) ?? '', SOCKET), key)
  })

t.test('a socket that moved replaces ours, and the first line still comes back', async (t) => {
  const before = 'runtime-endpoint: unix:///old.sock\n'
  const first = nameSocket(before, '/run/one.sock')
  const second = nameSocket(first.ok ? first.text : '', '/run/two.sock')
  t.match(second, { ok: true, text: /^# replaced[^\n]*old\.sock\nruntime-endpoint: unix:\/\/\/run\/two\.sock / })
  t.equal(withoutSocket(second.ok ? second.text : ''), before)
})

t.test('a line that someone made theirs since stays', async (t) => {
  const theirs = '# replaced by registry-trust-agent: runtime-endpoint: unix:///old\nruntime-endpoint: unix:///new\n'
  t.equal(withoutSocket(theirs), theirs)
})

t.test('what is not a flat list of settings is left alone', async (t) => {
  t.match(nameSocket('{"runtime-endpoint": "x"}\n', SOCKET), { ok: false, reason: /line 1/ })
  t.match(nameSocket('a: 1\n  b: 2\n', SOCKET), { ok: false, reason: /line 2/ })
  t.match(nameSocket('image-endpoint: a\nimage-endpoint: b\n', SOCKET), { ok: false, reason: /2 times/ })
})

t.test('an endpoint is read in every form that crictl reads', async (t) => {
  const socket = '/run/other.sock'
  const table: readonly (readonly [string, string | undefined])[] = [
    ['runtime-endpoint: unix:///run/other.sock\n', socket],
    ['"runtime-endpoint": "unix:///run/other.sock"\n', socket],
    ["'runtime-endpoint' : 'unix:///run/other.sock' # why\n", socket],
    ['---\n# ours\n  timeout: 2\n  runtime-endpoint: unix:///run/other.sock\n', socket],
    ['{runtime-endpoint: unix:///run/other.sock, timeout: 2}\n', socket],
    ['{"timeout": 2, "runtime-endpoint": "unix:///run/other.sock"}', socket],
    ['{\n  timeout: 2,\n  runtime-endpoint: unix:///run/other.sock\n}\n', socket],
    ['timeout: 2\r\nruntime-endpoint: unix:///run/other.sock\r\n', socket],
    ['nested:\n  runtime-endpoint: unix:///run/other.sock\n', undefined],
    ['# runtime-endpoint: unix:///run/other.sock\n', undefined],
    ['runtime-endpoint: ""\n', undefined],
    ['runtime-endpoint:\nimage-endpoint: unix:///run/other.sock\n', undefined],
    ['xruntime-endpoint: unix:///run/other.sock\n', undefined],
  ]
  for (const [text, found] of table) t.equal(crictlEndpointOf(text, 'runtime-endpoint'), found, JSON.stringify(text))
})

t.test('where /etc has no crictl.yaml, the one beside the program is judged', async (t) => {
  const root = t.testdir({
    usr: { local: { bin: { 'crictl.yaml': 'runtime-endpoint: unix:///run/other.sock\n' } } },
    etc: {},
  })
  const files = nodeFiles({ root })
  const facts = { socket: '/run/containerd/containerd.sock' } as ContainerdFacts
  t.match(await examineCrictl(facts, files), [
    { where: '/usr/local/bin/crictl.yaml', what: /runtime-endpoint names \/run\/other\.sock/ },
  ])
  writeFileSync(`${root}/etc/crictl.yaml`, 'runtime-endpoint: unix:///run/containerd/containerd.sock\n')
  t.same(await examineCrictl(facts, files), [], 'that of /etc comes first')
})
