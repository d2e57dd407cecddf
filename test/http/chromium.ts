// A real Chromium without a window, closed with the test.
import { existsSync } from 'node:fs'
import { type Browser, chromium } from 'playwright-core'
import type { Test } from 'tap'

const PROGRAM = '/usr/bin/chromium'
const QUIET = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

/** Throws with the cure where there is none. */
export async function startChromium(t: Test): Promise<Browser> {
  if (!existsSync(PROGRAM)) throw new Error('chromium is not on this machine: run scripts/install-fixtures')
  // The profile is a folder of its own that is removed afterwards.
  const browser = await chromium.launch({ executablePath: PROGRAM, args: QUIET })
  t.teardown(() => browser.close())
  return browser
}
