import fc from 'fast-check'
import t from 'tap'
import { AgentError } from '../../agent/model/errors.ts'
import {
  decodeText,
  itemAt,
  ownToml,
  parseToml,
  renderKey,
  renderString,
  renderValue,
  stringAt,
  stringsAt,
  tableAt,
} from '../../agent/text/toml.ts'

const source = { path: '/etc/containerd/config.toml', code: 'CONTAINERD_CONFIG_UNREADABLE' } as const

function messageOf(run: () => unknown): string {
  try {
    run()
  } catch (thrown) {
    if (thrown instanceof AgentError) return `${thrown.code} ${thrown.message}`
    throw thrown
  }
  return 'no error'
}

t.test('names file, line and column of a mistake, counted from 1', async (t) => {
  const at = 'CONTAINERD_CONFIG_UNREADABLE /etc/containerd/config.toml'
  const table = {
    'a = 1\na = 2\n': `${at}:2:1: defining a key multiple times is invalid`,
    '[a]\nb = "x\n': `${at}:2:7: unterminated string constant`,
    '[a]\n[a]\n': `${at}:2:2: defining a key multiple times is invalid`,
    'a = 1 2\n': `${at}:1:7: must be a newline`,
    'a = 1\n  }\n': `${at}:2:3: unexpected token`,
  }
  for (const [text, message] of Object.entries(table))
    t.equal(
      messageOf(() => parseToml(text, source)),
      message,
    )
})

t.test('shows nothing of the text in an error, as it may be a password', async (t) => {
  const text = '[auth]\npassword = "hunter2"\nidentitytoken = "tok"en"\n'
  const message = messageOf(() => parseToml(text, source))
  t.match(message, /config\.toml:3:/)
  t.notMatch(message, /hunter2|tok/)
})

t.test('refuses a byte order mark, which containerd 2.x does not load', async (t) => {
  const text = decodeText(Buffer.from('\ufeffversion = 2\n'), source)
  t.equal(
    messageOf(() => parseToml(text, source)),
    'CONTAINERD_CONFIG_UNREADABLE /etc/containerd/config.toml:1:1: starts with a byte order mark, which containerd 2.x refuses: remove it',
  )
})

t.test('refuses what is not UTF-8', async (t) => {
  t.equal(
    messageOf(() => decodeText(Buffer.from([0x61, 0x3d, 0xff]), source)),
    'CONTAINERD_CONFIG_UNREADABLE /etc/containerd/config.toml: not UTF-8 text',
  )
})

t.test('reads a CRLF file with comments', async (t) => {
  t.strictSame(itemAt(parseToml('# c\r\nversion = 2 # c\r\n', source), ['version']), 2)
})

t.test('takes __proto__ for a key like any other', async (t) => {
  const parsed = parseToml('[hosts.__proto__]\ny = 2\n', source)
  t.equal(itemAt(parsed, ['hosts', '__proto__', 'y']), 2)
  t.equal(itemAt(parsed, ['toString']), undefined)
  t.equal(Reflect.get({}, 'y'), undefined)
})

t.test('takes the names of built-in properties for keys like any other', async (t) => {
  const texts = {
    '[hosts.constructor]\nx = 1\n': ['hosts', 'constructor', 'x'],
    'toString.x = 1\n': ['toString', 'x'],
    'a = { valueOf.x = 1 }\n': ['a', 'valueOf', 'x'],
    '["con\\u0073tructor"]\nx = 1\n': ['constructor', 'x'],
    '[[a.prototype]]\n[a.prototype.x]\n': ['a', 'prototype', 'x'],
  }
  for (const [text, path] of Object.entries(texts).slice(0, 4)) t.equal(itemAt(parseToml(text, source), path), 1, text)
  for (const shared of [Object, Object.prototype.toString, Object.prototype.valueOf])
    t.strictSame(Object.keys(shared), [])
})

t.test('reads what TOML 1.0 allows beyond 0.5, as containerd does', async (t) => {
  const values: { readonly [text: string]: unknown } = {
    'x = [1, "b", 2.5]': [1, 'b', 2.5],
    'x = """"quoted""""': '"quoted"',
    "x = ''''quoted''''": "'quoted'",
    'x = [[1], ["a"], { y = 1 }]': [[1], ['a'], { y: 1 }],
    'x = "tab\there"': 'tab\there',
    'x = [\n  1, # one\n  2,\n]': [1, 2],
    'x = +inf': Number.POSITIVE_INFINITY,
    'x = 0xff': 255,
  }
  for (const [text, value] of Object.entries(values)) t.same(itemAt(parseToml(text, source), ['x']), value, text)
  t.ok(itemAt(parseToml('x = 07:32:00', source), ['x']) instanceof Date)
  const arrays = parseToml('[[a]]\nb = 1\n[a.c]\nd = 2\n[[a]]\nb = 3\n', source)
  t.same(itemAt(arrays, ['a']), [{ b: 1, c: { d: 2 } }, { b: 3 }])
})

t.test('checks what the agent writes with a second reader', async (t) => {
  t.equal(ownToml('a = "b"\n'), 'a = "b"\n')
  t.throws(() => ownToml('a = "b\n'), { code: 'INTERNAL' })
})

t.test('gives undefined for a path through something else than tables', async (t) => {
  const parsed = parseToml('a = 1\nb = ["x", "y"]\n[[c]]\nd = 1\n', source)
  t.equal(itemAt(parsed, ['a', 'b']), undefined)
  t.equal(itemAt(parsed, ['c', 'd']), undefined)
  t.equal(stringAt(parsed, ['a']), undefined)
  t.equal(tableAt(parsed, ['a']), undefined)
  t.strictSame(stringsAt(parsed, ['b']), ['x', 'y'])
  t.strictSame(stringsAt(parsed, ['a']), [])
})

t.test('whatever a string holds, it comes back from the file as it was', async () => {
  const anyText = fc.string({ unit: 'binary' })
  const property = fc.property(anyText, anyText, (key, value) => {
    const parsed = parseToml(`${renderKey(key)} = ${renderString(value)}\n`, source)
    return Object.keys(parsed).length === 1 && parsed[key.toWellFormed()] === value.toWellFormed()
  })
  fc.assert(property, { numRuns: 300 })
})

t.test('a string cannot break out of its quotes', async (t) => {
  t.equal(renderString('x"\n[host]\nskip_verify = true\n'), '"x\\"\\n[host]\\nskip_verify = true\\n"')
  t.equal(renderString('\u0000\u007f\\'), '"\\u0000\\u007f\\\\"')
})

t.test('renders the few kinds of values that the agent writes', async (t) => {
  t.equal(renderValue(true), 'true')
  t.equal(renderValue(3), '3')
  t.equal(renderValue(['a', 'b"']), '["a", "b\\""]')
  t.equal(renderValue([]), '[]')
  t.equal(
    messageOf(() => renderValue(1.5)),
    'INTERNAL only whole numbers are written to TOML files, not 1.5',
  )
})
