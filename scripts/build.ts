// Bundles the agent, its command line and the sidecars into dist/registry-trust.cjs: one file starts faster and takes
// less memory than the packages do (docs/performance.md).
import { readFileSync } from 'node:fs'
import { build } from 'esbuild'

const outdir = process.argv[2] ?? 'dist'
const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }

await build({
  // The sidecars have a file of their own: what they never run would cost them more memory than all they do.
  entryPoints: { 'registry-trust': 'agent/main.ts', 'registry-trust-sidecar': 'agent/main-sidecar.ts' },
  outdir,
  outExtension: { '.js': '.cjs' },
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node24',
  keepNames: true,
  sourcemap: 'external',
  legalComments: 'linked',
  logLevel: 'warning',
  define: { REGISTRY_TRUST_VERSION: JSON.stringify(version) },
})
