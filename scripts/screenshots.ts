// The pictures of the agent's page and of the fleet's: docs/images/NAME.png, with the digest of the HTML that each shows
// in pictures.json, so that a test tells when a page has changed since (other browsers draw other pixels).
// usage: node scripts/screenshots.ts
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { chromium } from 'playwright-core'
import { renderFleetPage } from '../agent/fleet/report/page.ts'
import { fleetReport } from '../agent/fleet/report/report.ts'
import { renderPage } from '../agent/http/page/page.ts'
import { DEFAULT_FLEET } from '../agent/model/fleet.ts'
import type { NodeStatus } from '../agent/model/status.ts'
import { rollingOut } from '../test/fixtures/fleet/pictures.ts'
import { NOW, SAMPLE, TRUSTED, UNPROVED, UNTRUSTED } from '../test/fixtures/http/sample-status.ts'

const IMAGES = join(import.meta.dirname, '../docs/images')
const DIGESTS = join(IMAGES, 'pictures.json')
const CHROMIUM = '/usr/bin/chromium'
const WIDTH = 1200
/** What one sees first. */
const HEIGHT = 780
const NODES = 12

/** One registry is trusted, one waits, one serves a certificate of an authority that nobody declared. */
const NODE: NodeStatus = {
  ...SAMPLE,
  anchors: SAMPLE.anchors.slice(0, 1),
  registries: [
    { ...TRUSTED, host: 'harbor.example.net' },
    UNPROVED,
    { ...UNTRUSTED, host: 'quay.example.net', finding: { ...UNTRUSTED.finding, ...quayFinding() } },
  ],
  warnings: [],
  problems: [],
}

function quayFinding() {
  return {
    message: 'the certificate of quay.example.net is issued by an authority this node does not know',
    evidence: { text: 'x509: certificate signed by unknown authority', host: 'quay.example.net' },
  }
}

/** HTML by the name of its picture. */
export function pictures(): { readonly [name: string]: string } {
  return {
    'node-page': renderPage(NODE, { now: NOW }),
    'fleet-page': renderFleetPage(
      fleetReport(rollingOut(NODES), DEFAULT_FLEET.rollout, { offset: 0, limit: 4 }),
      SAMPLE.version,
    ),
  }
}

export function digestsOf(all: { readonly [name: string]: string }): { readonly [name: string]: string } {
  return Object.fromEntries(
    Object.entries(all).map(([name, html]) => [name, createHash('sha256').update(html).digest('hex')]),
  )
}

export function recordedDigests(): { readonly [name: string]: string } {
  return JSON.parse(readFileSync(DIGESTS, 'utf8')) as { readonly [name: string]: string }
}

async function drawAll(): Promise<void> {
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', '--disable-gpu'] })
  try {
    for (const [name, html] of Object.entries(pictures())) {
      // Without script: the page would ask a server that is not there for news.
      const context = await browser.newContext({ viewport: { width: WIDTH, height: HEIGHT }, javaScriptEnabled: false })
      const page = await context.newPage()
      await page.setContent(html)
      await page.screenshot({ path: join(IMAGES, `${name}.png`) })
      await context.close()
    }
  } finally {
    await browser.close()
  }
  writeFileSync(DIGESTS, `${JSON.stringify(digestsOf(pictures()), null, 2)}\n`)
}

if (import.meta.main) await drawAll()
