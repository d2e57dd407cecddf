// The page of the fleet in a real Chromium with few and many nodes: accessible, readable wide and narrow, and quiet.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import t from 'tap'
import { fleetReport } from '../../agent/fleet/report/report.ts'
import { createFleetServer } from '../../agent/fleet/report/server.ts'
import type { FleetPicture } from '../../agent/fleet/state/picture.ts'
import { DEFAULT_FLEET } from '../../agent/model/fleet.ts'
import { rollingOut } from '../fixtures/fleet/pictures.ts'
import { startChromium } from '../fixtures/http/chromium.ts'
import { SILENT } from '../fixtures/scratch/carry-out.ts'

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const WELL_HEALTH = () => ({ ready: true, checks: [] })
type Result = { readonly violations: readonly { readonly id: string; readonly nodes: readonly unknown[] }[] }

t.setTimeout(120_000)

t.test('axe finds nothing on the page with 3, 300 and 5,000 nodes, wide and narrow, light and dark', async (t) => {
  let shown: FleetPicture = rollingOut(3)
  const server = createFleetServer({
    version: '1',
    report: (query) => fleetReport(shown, DEFAULT_FLEET.rollout, query),
    metrics: { contentType: 'text/plain', text: async () => '' },
    ...{ readiness: WELL_HEALTH, liveness: WELL_HEALTH, log: SILENT },
  })
  const { port } = await server.listen('127.0.0.1:0')
  t.teardown(() => server.close())
  const browser = await startChromium(t)
  for (const [count, viewport, colorScheme] of [
    [3, { width: 1280, height: 900 }, 'light'],
    [300, { width: 360, height: 740 }, 'dark'],
    [5000, { width: 1280, height: 900 }, 'dark'],
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
    await page.evaluate(AXE)
    const { violations } = (await page.evaluate('axe.run(document)')) as Result
    t.same(violations, [], `${count} nodes`)
    t.same(complaints, [])
    const shots = process.env['SCREENSHOTS']
    if (shots !== undefined) await page.screenshot({ path: `${shots}/fleet-${count}.png` })
    await context.close()
  }
})
