import { createHash } from 'node:crypto'
import t from 'tap'
import { html, renderHtml } from '../../agent/http/html.ts'
import { renderPage } from '../../agent/http/page.ts'
import type { NodeStatus } from '../../agent/model/status.ts'
import { startFixture } from './fixture.ts'
import { SAMPLE } from './sample-status.ts'

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
  t.notMatch(page, /<script|<img|onerror='x'>/)
  t.ok(page.includes('&quot;&gt;&lt;script&gt;'))
})

t.test('the content security policy allows exactly the one style of the page and nothing else', async (t) => {
  const { server } = startFixture(t)
  const answer = await server.inject({ url: '/' })
  const style = /<style>([\s\S]*)<\/style>/.exec(answer.body)?.[1] ?? ''
  const digest = createHash('sha256').update(style).digest('base64')
  t.equal(
    answer.headers['content-security-policy'],
    `default-src 'none'; style-src 'sha256-${digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
  )
  t.notMatch(answer.body, /\bstyle=|<script|<link|src=|https?:\/\//, 'nothing inline, nothing from elsewhere')
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
