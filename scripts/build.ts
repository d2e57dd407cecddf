// Bundles the agent, its command line and the sidecars into dist/registry-trust.cjs: one file starts faster and takes
// less memory than the packages do (docs/performance.md).
import { readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import standaloneCode from 'ajv/dist/standalone/index.js'
import { build, type Plugin } from 'esbuild'
import { createAjv, TRUST_SCHEMA_ID } from '../agent/config/schema/compiled.ts'

const outdir = process.argv[2] ?? 'dist'
const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }

/**
 * The validator of trust.yaml as code: generating it at each start costs more time than all else that reads a
 * configuration.
 */
const compiledSchema: Plugin = {
  name: 'compiled-schema',
  setup({ onLoad }) {
    onLoad({ filter: /\/agent\/config\/schema\/compiled\.ts$/ }, ({ path }) => ({
      contents: standaloneCode.default(createAjv({ source: true, esm: true }), { isTrustConfig: TRUST_SCHEMA_ID }),
      loader: 'js',
      resolveDir: dirname(path),
    }))
  },
}

/** The client of the Kubernetes API is larger than all the rest, and only `publish`, `fleet` and `status --all` run it. */
const clusterApart: Plugin = {
  name: 'cluster-apart',
  setup({ onResolve }) {
    onResolve({ filter: /\/cluster\/kubernetes-api\.ts$/ }, ({ kind }) =>
      kind === 'dynamic-import' ? { path: './registry-trust-cluster.cjs', external: true } : undefined,
    )
    onResolve({ filter: /(?:^\.|\/commands)\/fleet\.ts$/ }, ({ kind }) =>
      kind === 'dynamic-import' ? { path: './registry-trust-fleet.cjs', external: true } : undefined,
    )
  },
}

await build({
  // The sidecars have a file of their own: what they never run would cost them more memory than all they do.
  entryPoints: {
    'registry-trust': 'agent/main.ts',
    'registry-trust-sidecar': 'agent/main-sidecar.ts',
    // What decodes the files of the configuration that are not small, in a thread.
    'registry-trust-reader': 'agent/main-reader.ts',
    'registry-trust-cluster': 'agent/cluster/kubernetes-api.ts',
    'registry-trust-fleet': 'agent/cli/commands/fleet.ts',
  },
  outdir,
  outExtension: { '.js': '.cjs' },
  bundle: true,
  plugins: [compiledSchema, clusterApart],
  platform: 'node',
  format: 'cjs',
  target: 'node24',
  keepNames: true,
  // Names stay, for stack traces; the white space alone is a third of what Node would read and keep in memory.
  minifyWhitespace: true,
  minifySyntax: true,
  lineLimit: 160,
  sourcemap: 'external',
  legalComments: 'linked',
  logLevel: 'warning',
  define: { REGISTRY_TRUST_VERSION: JSON.stringify(version), 'import.meta.dirname': '__dirname' },
})
