// tap as one file: to load its three hundred modules takes as long as most test files do. It lies where tap leaves its own
// frames out of what it says of a failed test.
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'

const ROOT = join(import.meta.dirname, '..')
const PACKAGES = join(ROOT, 'node_modules/.package-lock.json')

/** Made anew when other packages were installed. */
const BUNDLED_TAP = join(ROOT, '.tap/node_modules/@tapjs/all/dist/tap.mjs')

/** What Node.js is to load before a test file. */
const TAP_HOOK = join(import.meta.dirname, 'tap-hook.ts')

/** Undefined where the folder of the packages cannot be written to: tap is loaded as it is then. */
export async function bundleTap(): Promise<string | undefined> {
  if (existsSync(BUNDLED_TAP) && statSync(BUNDLED_TAP).mtimeMs >= statSync(PACKAGES).mtimeMs) return TAP_HOOK
  try {
    await build({
      stdin: { contents: "export * from 'tap'; export { default } from 'tap'", resolveDir: ROOT },
      bundle: true,
      platform: 'node',
      format: 'esm',
      target: 'node24',
      outfile: BUNDLED_TAP,
      logLevel: 'silent',
      banner: {
        js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);",
      },
    })
    return TAP_HOOK
  } catch {
    return undefined
  }
}
