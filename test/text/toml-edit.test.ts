// Whole text in, whole text out. What is not shown as changed here must not change on a node.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { AgentError } from '../../agent/model/errors.ts'
import { parseToml } from '../../agent/text/toml.ts'
import { checkEdit, editKeys, removeKey, setKey } from '../../agent/text/toml-edit.ts'

const CRI = ['plugins', 'io.containerd.grpc.v1.cri']
const CONFIG_PATH = [...CRI, 'registry', 'config_path']
const DIRECTORY = '/etc/containerd/certs.d'
const path = '/etc/containerd/config.toml'

type Row = { readonly name: string; readonly before: string; readonly after: string }

const SET_ROWS: readonly Row[] = [
  {
    name: 'replaces an empty value and keeps the odd spacing and the comment around it',
    before: '[plugins."io.containerd.grpc.v1.cri".registry]\n\tconfig_path   =\t""   # see runbook 7\n',
    after: `[plugins."io.containerd.grpc.v1.cri".registry]\n\tconfig_path   =\t"${DIRECTORY}"   # see runbook 7\n`,
  },
  {
    name: 'replaces a literal string',
    before: "[plugins.'io.containerd.grpc.v1.cri'.registry]\n  config_path = ''\n",
    after: `[plugins.'io.containerd.grpc.v1.cri'.registry]\n  config_path = "${DIRECTORY}"\n`,
  },
  {
    name: 'replaces a multi-line string as a whole',
    before: '[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = """/a\\\n  /b"""\nx = 1\n',
    after: `[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "${DIRECTORY}"\nx = 1\n`,
  },
  {
    name: 'adds a line after the last key of the table, indented like it',
    before: '[plugins."io.containerd.grpc.v1.cri".registry]\n    x = [\n      "a", # one\n    ] # two\n\n[other]\n',
    after: `[plugins."io.containerd.grpc.v1.cri".registry]\n    x = [\n      "a", # one\n    ] # two\n    config_path = "${DIRECTORY}"\n\n[other]\n`,
  },
  {
    name: 'adds a line below an empty header, indented as other tables of the file are',
    before: '  [plugins."io.containerd.grpc.v1.cri".registry] # r\n\n[grpc]\n    uid = 0\n',
    after: `  [plugins."io.containerd.grpc.v1.cri".registry] # r\n      config_path = "${DIRECTORY}"\n\n[grpc]\n    uid = 0\n`,
  },
  {
    name: 'appends a new table where only the table above exists',
    before: '[plugins]\n  [plugins."io.containerd.grpc.v1.cri"]\n    sandbox_image = "p:1"\n',
    after: `[plugins]\n  [plugins."io.containerd.grpc.v1.cri"]\n    sandbox_image = "p:1"\n\n[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "${DIRECTORY}"\n`,
  },
  {
    name: 'appends a new table where only tables below exist, spelled as the file spells it',
    before: "[plugins.'io.containerd.grpc.v1.cri'.'registry'.headers]\nX = ['y']\n",
    after: `[plugins.'io.containerd.grpc.v1.cri'.'registry'.headers]\nX = ['y']\n\n[plugins.'io.containerd.grpc.v1.cri'.'registry']\n  config_path = "${DIRECTORY}"\n`,
  },
  {
    name: 'keeps CRLF line ends',
    before: 'version = 2 # c\r\n[plugins]\r\n',
    after: `version = 2 # c\r\n[plugins]\r\n\r\n[plugins."io.containerd.grpc.v1.cri".registry]\r\n  config_path = "${DIRECTORY}"\r\n`,
  },
  {
    name: 'adds a key to a file without a final newline, which stays so',
    before: '[plugins."io.containerd.grpc.v1.cri".registry]\n  x = 1 # last',
    after: `[plugins."io.containerd.grpc.v1.cri".registry]\n  x = 1 # last\n  config_path = "${DIRECTORY}"`,
  },
  {
    name: 'appends a table to a file without a final newline',
    before: 'version = 2',
    after: `version = 2\n\n[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "${DIRECTORY}"\n`,
  },
  {
    name: 'adds no second empty line before a new table',
    before: 'version = 2\n\n',
    after: `version = 2\n\n[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "${DIRECTORY}"\n`,
  },
  {
    name: 'continues dotted keys, which forbid a header of the same table',
    before: '[plugins."io.containerd.grpc.v1.cri"]\n  registry.headers.X = ["y"] # h\n  z = 1\n',
    after: `[plugins."io.containerd.grpc.v1.cri"]\n  registry.headers.X = ["y"] # h\n  registry.config_path = "${DIRECTORY}"\n  z = 1\n`,
  },
  {
    name: 'continues dotted keys from a table further up',
    before: 'plugins."io.containerd.grpc.v1.cri".sandbox_image = "p:1"\n[grpc]\n',
    after: `plugins."io.containerd.grpc.v1.cri".sandbox_image = "p:1"\nplugins."io.containerd.grpc.v1.cri".registry.config_path = "${DIRECTORY}"\n[grpc]\n`,
  },
  {
    name: 'adds to an inline table',
    before: '[plugins."io.containerd.grpc.v1.cri"]\nregistry = { headers = { X = ["y"] } } # r\n',
    after: `[plugins."io.containerd.grpc.v1.cri"]\nregistry = { headers = { X = ["y"] }, config_path = "${DIRECTORY}" } # r\n`,
  },
  {
    name: 'fills an empty inline table',
    before: 'plugins = { "io.containerd.grpc.v1.cri" = {} }\n',
    after: `plugins = { "io.containerd.grpc.v1.cri" = { registry = { config_path = "${DIRECTORY}" } } }\n`,
  },
  {
    name: 'continues dotted keys inside an inline table',
    before: 'plugins = { "io.containerd.grpc.v1.cri" = { registry.x = 1, z = 2 } }\n',
    after: `plugins = { "io.containerd.grpc.v1.cri" = { registry.x = 1, registry.config_path = "${DIRECTORY}", z = 2 } }\n`,
  },
  {
    name: 'leaves arrays of tables alone',
    before: '[[stream]]\nx = 1\n[stream.sub]\ny = 2\n[[stream]]\n',
    after: `[[stream]]\nx = 1\n[stream.sub]\ny = 2\n[[stream]]\n\n[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "${DIRECTORY}"\n`,
  },
  {
    name: 'is not misled by the same key in another table, in a comment or in a string',
    before:
      '# [plugins."io.containerd.grpc.v1.cri".registry]\n[plugins."io.containerd.transfer.v1.local"]\nconfig_path = ""\nx = """\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = ""\n"""\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = ""\n',
    after: `# [plugins."io.containerd.grpc.v1.cri".registry]\n[plugins."io.containerd.transfer.v1.local"]\nconfig_path = ""\nx = """\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = ""\n"""\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "${DIRECTORY}"\n`,
  },
  {
    name: 'finds its place after characters outside the basic plane',
    before: '# é😀\n[plugins."io.containerd.grpc.v1.cri".registry]\n"é😀" = "😀" # 😀\n',
    after: `# é😀\n[plugins."io.containerd.grpc.v1.cri".registry]\n"é😀" = "😀" # 😀\nconfig_path = "${DIRECTORY}"\n`,
  },
  {
    name: 'writes a table into an empty file',
    before: '',
    after: `[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "${DIRECTORY}"\n`,
  },
]

t.test('setKey', async (t) => {
  for (const { name, before, after } of SET_ROWS)
    t.test(name, async (t) => {
      t.equal(await setKey(before, CONFIG_PATH, DIRECTORY, { path }), after)
      t.equal(await setKey(after, CONFIG_PATH, DIRECTORY, { path }), after, 'a second time changes nothing')
    })

  t.test('adds a root key after the other root keys', async (t) => {
    const edited = await setKey('version = 2\n[grpc]\n', ['required_plugins'], ['a.b'], { path })
    t.equal(edited, 'version = 2\nrequired_plugins = ["a.b"]\n[grpc]\n')
  })

  t.test('adds a root key at the top where there is none', async (t) => {
    t.equal(await setKey('[grpc]\n', ['oom_score'], 0, { path }), 'oom_score = 0\n[grpc]\n')
    t.equal(await setKey('', ['oom_score'], 0, { path }), 'oom_score = 0')
  })

  t.test('changes one line of the files that real containerd generations write', async (t) => {
    const images = ['plugins', 'io.containerd.cri.v1.images', 'registry', 'config_path']
    for (const [file, key] of [
      ['default-1.6.toml', CONFIG_PATH],
      ['default-1.7.toml', CONFIG_PATH],
      ['default-2.1.toml', images],
    ] as const) {
      const before = readFileSync(join(import.meta.dirname, '../containerd/golden', file), 'utf8')
      const after = await setKey(before, key, DIRECTORY, { path })
      const changed = after.split('\n').filter((line, index) => line !== before.split('\n')[index])
      t.strictSame(changed, [`      config_path = "${DIRECTORY}"`], file)
      t.equal(after.split('\n').length, before.split('\n').length, file)
    }
  })

  t.test('refuses where a table stands in place of a value, or a value in place of a table', async (t) => {
    for (const [before, message] of [
      ['[plugins."io.containerd.grpc.v1.cri".registry.config_path]\n', `${path}: config_path is a table`],
      ['[plugins."io.containerd.grpc.v1.cri"]\nregistry = 1\n', `${path}: registry is not a table`],
      ['[[plugins]]\n', `${path}: plugins is not a table`],
    ] as const)
      await t.rejects(
        setKey(before, CONFIG_PATH, DIRECTORY, { path }),
        new AgentError('CONFIG_EDIT_UNSUPPORTED', message),
        before,
      )
  })

  t.test('names the position of a syntax error and edits nothing', async (t) => {
    const message = `${path}:3:1: unterminated table-key`
    await t.rejects(
      setKey('version = 2\n[plugins\n', CONFIG_PATH, DIRECTORY, { path }),
      new AgentError('CONTAINERD_CONFIG_UNREADABLE', message),
    )
  })

  t.test('edits nothing where dotted keys and headers are about the same table, which TOML forbids', async (t) => {
    const before = '[a]\nb.c = 1\n[a.b]\nd = 1\n'
    const message = `${path}:3:4: defining a key multiple times is invalid`
    await t.rejects(
      setKey(before, CONFIG_PATH, DIRECTORY, { path }),
      new AgentError('CONTAINERD_CONFIG_UNREADABLE', message),
    )
  })
})

type Removal = Row & { readonly key: readonly string[] }

const REMOVAL_ROWS: readonly Removal[] = [
  {
    name: 'removes a line with its comment',
    before: 'a = 1\n  b = "x" # why\nc = 2\n',
    key: ['b'],
    after: 'a = 1\nc = 2\n',
  },
  {
    name: 'removes a value of several lines',
    before: 'a = [\n  "x", # one\n]\r\nc = 2',
    key: ['a'],
    after: 'c = 2',
  },
  {
    name: 'removes a table with its sub-tables wherever they stand, and no comment of the next one',
    before: '[debug] # d\n  level = "x"\n\n# about grpc\n[grpc]\nuid = 0\n[debug.sub]\nx = 1\n[[debug.list]]\n[z]\n',
    key: ['debug'],
    after: '\n# about grpc\n[grpc]\nuid = 0\n[z]\n',
  },
  {
    name: 'removes an array of tables with what is below its items',
    before: '[[p]]\nx = 1\n[p.q]\ny = 1\n[[p]]\nx = 2\n[z]\n',
    key: ['p'],
    after: '[z]\n',
  },
  { name: 'removes every dotted key of a table', before: 'a.b = 1\na.c.d = 2\nb = 3\n', key: ['a'], after: 'b = 3\n' },
  {
    name: 'removes the first entry of an inline table',
    before: 'a = { b = 1, c = 2 }\n',
    key: ['a', 'b'],
    after: 'a = { c = 2 }\n',
  },
  {
    name: 'removes the last entry of an inline table',
    before: 'a = { b = 1, c = 2 }\n',
    key: ['a', 'c'],
    after: 'a = { b = 1 }\n',
  },
  {
    name: 'removes scattered entries of an inline table',
    before: 'a = { b.x = 1, c = 2, b.y = 3, d = 4, b.z = 5 }\n',
    key: ['a', 'b'],
    after: 'a = { c = 2, d = 4 }\n',
  },
  { name: 'empties an inline table', before: 'a = { b = 1 } # c\n', key: ['a', 'b'], after: 'a = {} # c\n' },
  {
    name: 'removes an entry deep in inline tables',
    before: 'a = { b = { c = 1, d = 2 } }\n',
    key: ['a', 'b', 'd'],
    after: 'a = { b = { c = 1 } }\n',
  },
  { name: 'removes the only table of its kind', before: '[a.b]\nx = 1\n', key: ['a', 'b'], after: '' },
  { name: 'leaves the text alone where there is no such key', before: 'a = 1\n', key: ['a', 'b'], after: 'a = 1\n' },
]

t.test('removeKey', async (t) => {
  for (const { name, before, key, after } of REMOVAL_ROWS)
    t.test(name, async (t) => {
      t.equal(await removeKey(before, key, { path }), after)
      t.equal(await removeKey(after, key, { path }), after, 'a second time changes nothing')
    })

  t.test('takes back exactly what setKey added to an existing table', async (t) => {
    const before = '[plugins."io.containerd.grpc.v1.cri".registry]\r\n  x = 1 # c\r\n[y]\r\n'
    const edited = await setKey(before, CONFIG_PATH, DIRECTORY, { path })
    t.equal(await removeKey(edited, CONFIG_PATH, { path }), before)
  })
})

t.test('checkEdit lets nothing through that says more, less or something else than was intended', async (t) => {
  const expected = parseToml('a = 1\n[b.c]\nx = "v"\n', { path, code: 'CONTAINERD_CONFIG_UNREADABLE' })
  const run = (edited: string) => () => checkEdit(edited, expected, [['b', 'c', 'x']], path)
  t.doesNotThrow(run('a = 1\n[b]\nc.x = "v"\n'), 'the form does not matter')
  const refusal = new AgentError(
    'CONFIG_EDIT_UNSUPPORTED',
    `${path}: b.c.x cannot be changed without touching something else`,
  )
  for (const wrong of [
    'a = 1\n',
    'a = 1\n[b.c]\nx = "w"\n',
    'a = 2\n[b.c]\nx = "v"\n',
    'a = 1\n[b.c]\nx = "v"\ny = 1\n',
    'a = "1"\n[b.c]\nx = "v"\n',
    'a = 1\n[b.c]\nx = "v"\n[d]\n',
    'a = 1\n[b.c]\nx = "v\n',
  ])
    t.throws(run(wrong), refusal, wrong)
})

t.test('several edits at once say what they say one after the other', async (t) => {
  const set = (key: readonly string[], value: string) => ({ kind: 'set', key, value }) as const
  const remove = (...key: string[]) => ({ kind: 'remove', key }) as const
  const cases = [
    [
      '# top\na = "1"\n[b]\nx = "1" # why\n[c.d]\ny = 1\n',
      [set(['a'], '2'), remove('c'), set(['b', 'z'], '3'), set(['b', 'w'], '4')],
      '# top\na = "2"\n[b]\nx = "1" # why\nz = "3"\nw = "4"\n',
    ],
    [
      '',
      [set(['n', 'a'], '1'), set(['m', 'a'], '2'), set(['n', 'b'], '3')],
      '[n]\n  a = "1"\n  b = "3"\n\n[m]\n  a = "2"\n',
    ],
    ['t = { a = "1" }\n', [remove('t', 'a'), set(['t', 'b'], '2')], 't = { b = "2" }\n'],
    ['a = "1"\n', [set(['a'], '2'), set(['a'], '3')], 'a = "3"\n'],
    ['a = "1"\n', [set(['a'], '1'), remove('b')], 'a = "1"\n'],
    ['[b]\nx = 1', [set(['b', 'y'], '2'), set(['c', 'z'], '3')], '[b]\nx = 1\ny = "2"\n\n[c]\n  z = "3"\n'],
  ] as const
  for (const [text, edits, expected] of cases) t.equal(await editKeys(text, edits, { path }), expected, expected)
})

t.test('edits of which one is only possible after another are made one by one', async (t) => {
  const edits = [
    { kind: 'remove', key: ['é 😀', 'é 😀'] },
    { kind: 'set', key: ['é 😀'], value: ['x', 'y'] },
  ] as const
  t.match(await editKeys('["é 😀"."é 😀"]', edits, { path: 'config.toml' }), /^\s*"é 😀" = \["x", "y"\]\s*$/)
})
