// The node's page in a real Chromium: readable wide, narrow and dark, accessible, renewed in place, whole without script,
// deaf to injections; and the fleet's with few and many nodes: accessible, readable, and quiet.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { BrowserContext, Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { fleetReport } from '../../../agent/fleet/report/report.ts'
import { createFleetServer } from '../../../agent/fleet/report/server.ts'
import type { FleetPicture } from '../../../agent/fleet/state/picture.ts'
import { DEFAULT_FLEET } from '../../../agent/model/fleet.ts'
import type { NodeStatus } from '../../../agent/model/status.ts'
import { rollingOut } from '../../fixtures/fleet/pictures.ts'
import { startChromium } from '../../fixtures/http/chromium.ts'
import { SAMPLE, TRUSTED } from '../../fixtures/http/sample-status.ts'
import { startFixture } from '../../fixtures/http/served-page.ts'
import { SILENT } from '../../fixtures/scratch/carry-out.ts'
import { partOf } from '../../fixtures/turn.ts'

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const WIDE = { width: 1280, height: 900 }
const PHONE = { width: 360, height: 740 }

const WELL: NodeStatus = {
  ...SAMPLE,
  state: 'converged',
  registries: [TRUSTED],
  drift: [],
  problems: [],
  restart: { pending: false, reason: null, last: null },
}

type Site = { readonly url: string; show(status: NodeStatus): void; readonly requests: string[]; stop(): Promise<void> }

async function serve(t: Test): Promise<Site> {
  let shown = SAMPLE
  const requests: string[] = []
  const { server } = startFixture(t, {
    status: () => shown,
    log: { debug: (_event, fields) => requests.push(String(fields?.['path'])), info() {}, warn() {}, error() {} },
    closeTimeoutMs: 50,
  })
  const { port } = await server.listen('127.0.0.1:0')
  return {
    url: `http://127.0.0.1:${port}/`,
    requests,
    show(status) {
      shown = status
    },
    stop: () => server.close(),
  }
}

/** Everything the browser complains about; must stay empty. */
function complaints(page: Page): readonly string[] {
  const all: string[] = []
  page.on('console', (message) => all.push(message.text()))
  page.on('pageerror', (error) => all.push(error.message))
  return all
}

async function open(
  context: BrowserContext,
  url: string,
): Promise<{ readonly page: Page; readonly found: readonly string[] }> {
  const page = await context.newPage()
  const found = complaints(page)
  await page.goto(url)
  return { page, found }
}

type AxeResult = {
  readonly violations: readonly {
    readonly id: string
    readonly nodes: readonly { readonly html: string; readonly failureSummary: string }[]
  }[]
  readonly passes: readonly { readonly id: string }[]
}

/** Of the rules that pass it tells one place each: a page with thousands of elements takes less. */
async function axe(page: Page): Promise<AxeResult> {
  await page.evaluate(AXE)
  return (await page.evaluate('axe.run(document, { resultTypes: ["violations"] })')) as AxeResult
}

const browser = await startChromium(t)

type Look = { readonly colorScheme: 'light' | 'dark'; readonly viewport: typeof WIDE; readonly status: NodeStatus }

/** Each half holds every two of the three together; the other half is looked at the day after. */
const LOOKS: readonly Look[] = [WIDE, PHONE].flatMap((viewport, narrow) =>
  [SAMPLE, WELL].flatMap((status, well) =>
    ((narrow + well) % 2 === 0 ? (['light', 'dark'] as const) : (['dark', 'light'] as const)).map((colorScheme) => ({
      colorScheme,
      viewport,
      status,
    })),
  ),
)

t.test('no accessibility rule is broken, light and dark, wide and narrow, in trouble and well', async (t) => {
  const site = await serve(t)
  for (const { colorScheme, viewport, status } of partOf(LOOKS, 2)) {
    const context = await browser.newContext({ colorScheme, viewport })
    site.show(status)
    const { page, found } = await open(context, site.url)
    for (const summary of await page.locator('#registries summary').all()) await summary.click()
    const { violations, passes } = await axe(page)
    const name = `${colorScheme} ${viewport.width} ${status.state}`
    t.strictSame(
      violations.map(({ id, nodes }) => [id, nodes.map(({ failureSummary, html }) => `${html}: ${failureSummary}`)]),
      [],
      name,
    )
    t.ok(
      passes.some(({ id }) => id === 'color-contrast'),
      `${name}: contrast was measured`,
    )
    const width = await page.evaluate<number>('document.documentElement.scrollWidth')
    t.ok(width <= viewport.width, `${name}: nothing sticks out (${width})`)
    t.strictSame(found, [], name)
    await context.close()
  }
})

t.test('a narrow table is still a table for a screen reader', async (t) => {
  const site = await serve(t)
  const context = await browser.newContext({ viewport: PHONE })
  const { page } = await open(context, site.url)
  const table = page.getByRole('table', { name: 'Registries' })
  t.equal(await table.getByRole('row').count(), 4)
  t.equal(await table.getByRole('columnheader', { name: 'Finding' }).count(), 1)
  t.match(
    await table.getByRole('row').nth(1).innerText(),
    /harbor\.example\.net[\s\S]*untrusted[\s\S]*Declare the CA\./,
    'worst first',
  )
  t.equal(await page.getByRole('heading', { level: 1 }).count(), 1)
  t.match(await page.title(), /^✗ worker-1: drifted/)
  await context.close()
})

t.test('the keyboard reaches everything, sees where it is, and skips to the registries', async (t) => {
  const site = await serve(t)
  const context = await browser.newContext({ viewport: WIDE })
  const { page } = await open(context, site.url)
  const focused = () => page.evaluate<string>('document.activeElement.outerHTML.slice(0, 60)')
  await page.keyboard.press('Tab')
  t.match(await focused(), 'class="skip"')
  t.ok((await page.locator('.skip').boundingBox())?.x === 16, 'the skip link comes into view')
  await page.keyboard.press('Enter')
  await page.keyboard.press('Tab')
  t.match(await focused(), 'registry-harbor.example.net')
  t.match(await page.evaluate<string>('getComputedStyle(document.activeElement).outlineStyle'), 'solid')
  await page.keyboard.press('Tab')
  t.match(await focused(), '<summary')
  await page.keyboard.press('Enter')
  t.ok(await page.getByText('x509: certificate signed by unknown authority').isVisible())
  await context.close()
})

t.test(
  'the page renews itself in place: open details, focus and position stay, the verdict is announced',
  async (t) => {
    const site = await serve(t)
    const context = await browser.newContext({ viewport: PHONE })
    const page = await context.newPage()
    const found = complaints(page)
    await page.clock.install()
    await page.goto(site.url)
    await page.locator('#registries summary').click()
    await page.locator('#registries summary').focus()
    const position = await page.evaluate<number>('scrollY')
    const verdict = await page.locator('#verdict').elementHandle()
    site.show({
      ...SAMPLE,
      state: 'restart-pending',
      registries: SAMPLE.registries.map((registry) => ({ ...registry, since: '2026-11-21T10:59:00Z' })),
    })
    await page.clock.fastForward(11_000)
    await page.locator('#state', { hasText: 'restart-pending' }).waitFor()
    t.ok(await page.evaluate<boolean>('document.querySelector("details").open'), 'open details stay open')
    t.match(
      await page.evaluate<string>('document.activeElement.id'),
      'evidence-of-harbor.example.net',
      'the focus stays',
    )
    t.equal(await page.evaluate<number>('scrollY'), position)
    t.match(await verdict?.textContent(), 'Changes wait for a restart', 'the same live region has the new words')
    t.equal(await page.locator('#verdict').getAttribute('role'), 'status')
    t.match(await page.title(), 'restart-pending')

    site.show(WELL)
    await page.evaluate('getSelection().selectAllChildren(document.querySelector("h1"))')
    await page.clock.fastForward(11_000)
    await page.clock.fastForward(11_000)
    t.equal(await page.locator('#state').innerText(), 'restart-pending', 'nothing moves under a selection')
    await page.evaluate('getSelection().removeAllRanges()')
    await page.clock.fastForward(11_000)
    await page.locator('#state', { hasText: 'converged' }).waitFor()
    t.ok(await page.locator('body.tone-ok').isVisible())
    t.strictSame(found, [])

    await site.stop()
    await page.clock.fastForward(11_000)
    await page.getByRole('alert').filter({ hasText: 'has not answered since' }).waitFor()
    t.equal(await page.locator('#state').innerText(), 'converged', 'the last state stays on the screen')
    await context.close()
  },
)

t.test('without JavaScript the page is whole and reloads by itself, until it is told not to', async (t) => {
  const site = await serve(t)
  const context = await browser.newContext({ javaScriptEnabled: false })
  const { page } = await open(context, site.url)
  t.match(await page.locator('noscript').innerHTML(), 'http-equiv="refresh"')
  t.match(await page.getByRole('table', { name: 'Registries' }).textContent(), 'harbor.example.net')
  await page.locator('#registries summary').click()
  t.ok(await page.getByText('x509: certificate signed').isVisible())
  await page.getByRole('link', { name: 'Stop refreshing' }).click()
  t.equal(await page.locator('noscript').count(), 0)
  await page.getByRole('link', { name: 'Refresh automatically' }).click()
  t.equal(page.url(), site.url)
  await context.close()
})

t.test('nothing from outside is asked for, and an injected script or style would do nothing', async (t) => {
  const site = await serve(t)
  const context = await browser.newContext({ viewport: WIDE })
  const asked: string[] = []
  context.on('request', (request) => asked.push(request.url()))
  const { page } = await open(context, site.url)
  t.strictSame(asked, [site.url])
  await page.evaluate(`document.body.insertAdjacentHTML('beforeend', '<p id=hole style="position:fixed">x<img src=/x onerror="window.hacked=1">')
    const script = document.createElement('script'); script.textContent = 'window.hacked = 1'; document.body.append(script)`)
  t.equal(await page.evaluate('window.hacked'), undefined)
  t.equal(await page.evaluate<string>('getComputedStyle(document.getElementById("hole")).position'), 'static')
  t.strictSame(site.requests, ['/'], 'the image never reached the network')
  await context.close()
})

t.test('the links lead to what they promise', async (t) => {
  const site = await serve(t)
  const context = await browser.newContext({ viewport: WIDE })
  const { page } = await open(context, site.url)
  const links = await page.evaluate<string[]>('Array.from(document.links, (link) => link.href)')
  for (const link of new Set(links.map((link) => link.split('#')[0] ?? '')))
    t.equal((await context.request.get(link)).status(), 200, link)
  const anchors = links.filter((link) => link.includes('#')).map((link) => link.split('#')[1] ?? '')
  for (const id of anchors) t.equal(await page.locator(`[id="${id}"]`).count(), 1, id)
  await page.getByRole('link', { name: 'Drift' }).click()
  t.ok(await page.getByRole('heading', { name: 'Drift', exact: true }).isVisible())
  await context.close()
})

const WELL_HEALTH = () => ({ ready: true, checks: [] })

t.test(
  'axe finds nothing on the page of the fleet with 3, 300 and 5,000 nodes, wide and narrow, light and dark',
  async (t) => {
    let shown: FleetPicture = rollingOut(3)
    const server = createFleetServer({
      version: '1',
      report: (query) => fleetReport(shown, DEFAULT_FLEET.rollout, query),
      metrics: { contentType: 'text/plain', text: async () => '' },
      ...{ readiness: WELL_HEALTH, liveness: WELL_HEALTH, log: SILENT },
    })
    const { port } = await server.listen('127.0.0.1:0')
    t.teardown(() => server.close())
    for (const [count, viewport, colorScheme] of [
      [3, WIDE, 'light'],
      [300, PHONE, 'dark'],
      [5000, WIDE, 'dark'],
    ] as const) {
      shown = rollingOut(count, count === 300 ? 'one node failed (n1)' : undefined)
      const context = await browser.newContext({ viewport, colorScheme, bypassCSP: true })
      const page = await context.newPage()
      const complaints: string[] = []
      page.on('console', (message) => {
        // Chromium asks for an icon by itself.
        if (!message.location().url.endsWith('/favicon.ico')) complaints.push(message.text())
      })
      page.on('pageerror', (error) => complaints.push(error.message))
      await page.goto(`http://127.0.0.1:${port}/`)
      const isWider = 'document.documentElement.scrollWidth > document.documentElement.clientWidth'
      t.equal(await page.evaluate(isWider), false, `${count} nodes: no scrolling sideways`)
      const { violations } = await axe(page)
      t.same(violations, [], `${count} nodes`)
      t.same(complaints, [])
      const shots = process.env['SCREENSHOTS']
      if (shots !== undefined) await page.screenshot({ path: `${shots}/fleet-${count}.png` })
      await context.close()
    }
  },
)
