import { createHash } from 'node:crypto'
import t from 'tap'
import { html, renderHtml } from '../../../agent/http/page/html.ts'
import { renderPage } from '../../../agent/http/page/page.ts'
import { relativeTime } from '../../../agent/http/page/time.ts'
import { NODE_STATES, type NodeStatus } from '../../../agent/model/status.ts'
import { verdictOf } from '../../../agent/model/verdict.ts'
import { NOW, SAMPLE, TRUSTED, UNPROVED, UNTRUSTED } from '../../fixtures/http/sample-status.ts'
import { startFixture } from '../../fixtures/http/served-page.ts'

/** Our script is the last element; whatever came from the status stands before it. */
function split(page: string): { readonly before: string; readonly script: string } {
  const start = page.lastIndexOf('<script>')
  return { before: page.slice(0, start), script: page.slice(start + '<script>'.length, page.lastIndexOf('</script>')) }
}

function digest(text = ''): string {
  return `sha256-${createHash('sha256').update(text).digest('base64')}`
}

t.test('the page shows node, registries with remedy, anchors, drift and transactions', async (t) => {
  const { server } = startFixture(t)
  const answer = await server.inject({ url: '/' })
  t.equal(answer.statusCode, 200)
  t.equal(answer.headers['content-type'], 'text/html; charset=utf-8')
  for (const part of [
    'worker-1',
    'drifted',
    'harbor.example.net',
    'Declare the CA.',
    'CN=Corp Root',
    'certs.d/harbor.example.net/ca.crt',
    'first apply',
    'CONFIG_INVALID',
    'no usable certificate',
    'config_path is not loaded yet',
  ]) {
    t.ok(answer.body.includes(part), part)
  }
  t.ok(
    answer.body.indexOf('harbor.example.net</code></a>') < answer.body.indexOf('registry.example.net:5000</code></a>'),
    'worst first',
  )
})

t.test('what comes from outside is escaped wherever it stands', async (t) => {
  const hostile = `"><script>alert(1)</script><img src=x onerror='x'>&`
  const everywhere: unknown = JSON.parse(JSON.stringify(SAMPLE), (_key, value: unknown) =>
    typeof value === 'string' ? hostile : value,
  )
  const page = renderPage(everywhere as NodeStatus)
  t.notMatch(split(page).before, /<script|<img|onerror='x'>/)
  t.ok(page.includes('&quot;&gt;&lt;script&gt;'))
})

t.test(
  'the content security policy allows the one style and the one script of the page, and nothing else',
  async (t) => {
    const { server } = startFixture(t)
    const answer = await server.inject({ url: '/' })
    const style = digest(/<style>([\s\S]*)<\/style>/.exec(answer.body)?.[1])
    const script = digest(split(answer.body).script)
    t.equal(
      answer.headers['content-security-policy'],
      `default-src 'none'; style-src '${style}'; script-src '${script}'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
    )
    const body = split(answer.body).before.replace(/<style>[\s\S]*<\/style>/, '')
    t.notMatch(body, /\bstyle=|<script|<link|src=|https?:\/\/|\son[a-z]+=/, 'nothing inline, nothing from elsewhere')
    t.notMatch(body, /href="\//, 'every link is relative: a proxy may give the page a path of its own')
  },
)

t.test('the page renews itself, with and without script, unless it is told not to', async (t) => {
  const { server } = startFixture(t)
  const { body } = await server.inject({ url: '/' })
  t.ok(body.includes('<noscript><meta http-equiv="refresh" content="30"></noscript>'))
  t.ok(split(body).script.includes('fetch('))
  const still = (await server.inject({ url: '/?refresh=off' })).body
  t.notMatch(still, /http-equiv|<script/)
  t.ok(still.includes('<a href="./">'))
})

t.test('the headline says what is worst, for every state', async (t) => {
  const trusted = { ...SAMPLE, state: 'converged', registries: [TRUSTED], drift: [], problems: [] } as const
  const cases: readonly (readonly [NodeStatus, string, string])[] = [
    [trusted, 'ok', 'The registry is trusted. Every file is as declared.'],
    [{ ...trusted, registries: [] }, 'ok', 'No registry is declared. Every file is as declared.'],
    [{ ...trusted, registries: [TRUSTED, TRUSTED] }, 'ok', 'All 2 registries are trusted. Every file is as declared.'],
    [
      { ...trusted, registries: [UNPROVED, TRUSTED] },
      'warn',
      'new.example.net is not proved yet. Every file is as declared.',
    ],
    [
      { ...trusted, registries: [UNPROVED, UNPROVED] },
      'warn',
      '2 of 2 registries are not proved yet. Every file is as declared.',
    ],
    [
      { ...trusted, registries: [UNTRUSTED, UNPROVED] },
      'bad',
      'harbor.example.net is not trusted. Every file is as declared.',
    ],
    [
      { ...trusted, registries: [UNTRUSTED, UNTRUSTED] },
      'bad',
      '2 of 2 registries are not trusted. Every file is as declared.',
    ],
    [{ ...trusted, problems: SAMPLE.problems }, 'warn', 'The registry is trusted. Every file is as declared.'],
    [
      { ...trusted, state: 'audit', drift: SAMPLE.drift },
      'warn',
      'The registry is trusted. Audit mode: differences are reported, nothing is changed.',
    ],
  ]
  for (const [status, tone, sentence] of cases) {
    const page = renderPage(status, { now: NOW })
    t.ok(page.includes(`data-live>${sentence}</p>`), sentence)
    t.ok(page.includes(`<body class="top tone-${tone}">`), sentence)
  }
  for (const state of NODE_STATES)
    t.match(verdictOf({ ...trusted, state }).sentence, /^The registry is trusted\. \S.*\.$/, state)
})

t.test('anchors show the time left in words and as a bar, what expires first comes first', async (t) => {
  const [anchor] = SAMPLE.anchors
  if (anchor === undefined) throw new Error('the sample has anchors')
  const at = (name: string, notAfter: string) => ({ ...anchor, name, notAfter })
  const anchors = [
    at('long', '2030-01-01T00:00:00Z'),
    at('soon', '2026-12-16T00:00:00Z'),
    at('now', '2026-12-01T00:00:00Z'),
    at('gone', '2026-11-01T00:00:00Z'),
  ]
  const page = renderPage({ ...SAMPLE, anchors }, { now: NOW })
  const rows = [
    ...page.matchAll(
      /<tr role="row" class="tone-(\w+)"><td role="cell" class="host" data-label="Anchor">(\w+)<[\s\S]*?left-text">([^<]+)<[\s\S]*?class="left" width="([\d.]+)"/g,
    ),
  ]
  t.strictSame(
    rows.map(([, tone, name, words, width]) => [name, tone, words, width]),
    [
      ['gone', 'bad', 'expired 20 days ago', '0'],
      ['now', 'bad', 'expires in 9 days', '2.6'],
      ['soon', 'warn', 'expires in 24 days', '6.7'],
      ['long', 'ok', 'expires in 1136 days', '100'],
    ],
  )
  t.ok(page.includes('<span>Next expiry</span><strong>20 days ago</strong>'))
})

t.test('times are told as people say them', async (t) => {
  const cases: readonly (readonly [string, string])[] = [
    ['2026-11-21T10:59:59.600Z', '400 ms ago'],
    ['2026-11-21T10:59:58.500Z', '1.5 s ago'],
    ['2026-11-21T10:59:20Z', '40 s ago'],
    ['2026-11-21T10:30:00Z', '30 min ago'],
    ['2026-11-20T11:00:00Z', '24 h ago'],
    ['2026-11-11T11:00:00Z', '10 days ago'],
    ['2026-12-01T11:00:00Z', 'in 10 days'],
    ['never', 'never'],
  ]
  for (const [at, words] of cases) t.equal(relativeTime(at, NOW), words)
})

t.test('an empty node has a page without empty tables', async (t) => {
  const page = renderPage({ ...SAMPLE, registries: [], anchors: [], drift: [], transactions: [], problems: [] })
  t.notMatch(page, /<table/)
  t.match(page, /No registry is declared\./)
})

t.test('html escapes text, keeps markup, joins lists and drops what is absent', async (t) => {
  const markup = html`<p title="${`"'`}">${'<&>'}${html`<b>${1}</b>`}${[html`<i>`, 'x>']}${null}${undefined}${false}</p>`
  t.equal(renderHtml(markup), '<p title="&quot;&#39;">&lt;&amp;&gt;<b>1</b><i>x&gt;</p>')
})
