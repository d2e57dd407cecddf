// Bundles the agent, its command line and the sidecars into dist/registry-trust*.cjs: bundles start faster and take less
// memory than the packages do (docs/performance.md). What several programs or commands share is in parts of its own,
// so that each process reads only what it runs.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import standaloneCode from 'ajv/dist/standalone/index.js'
import { build, type OutputFile, type Plugin, transform } from 'esbuild'
import { createAjv, TRUST_SCHEMA_ID } from '../agent/config/schema/compiled.ts'
import { RUNS_AT_START } from './bundled/parts.ts'

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

/**
 * What Fastify requires for requests that are validated, plugins of other versions and requests without a network: none
 * of that is used (agent/http/answer-by-schema.ts), and it was half of what the server is made of.
 */
const NOT_BUNDLED: readonly string[] = [
  '@fastify/ajv-compiler',
  '@fastify/fast-json-stringify-compiler',
  'light-my-request',
  'semver',
  // For the default metrics of prom-client, which are not these (agent/telemetry/process-metrics.ts).
  '@opentelemetry/api',
]
const notBundled: Plugin = {
  name: 'not-bundled',
  setup({ onResolve, onLoad }) {
    const filter = new RegExp(`^(${NOT_BUNDLED.join('|')})$`)
    onResolve({ filter }, ({ path, importer }) =>
      /node_modules\/(fastify|prom-client)\//.test(importer) ? { path, namespace: 'not-bundled' } : undefined,
    )
    onLoad({ filter: /./, namespace: 'not-bundled' }, ({ path }) => ({
      contents: `module.exports = () => { throw new Error(${JSON.stringify(`${path} is not part of the bundle`)}) }`,
      loader: 'js',
    }))
  },
}

const PROGRAMS = {
  'registry-trust': 'agent/main.ts',
  // The sidecars have a program of their own: what they never run would cost them more memory than all they do.
  'registry-trust-sidecar': 'agent/main-sidecar.ts',
  // What decodes the files of the configuration that are not small, in a thread.
  'registry-trust-reader': 'agent/main-reader.ts',
}

// esbuild is written in Go: with more memory between two collections a build takes a third less of the processor.
process.env['GOGC'] ??= '400'

/** What every command that changes a node begins with. */
const AT_START: readonly string[] = ['agent/main.ts', 'agent/cli/commands/apply.ts']

/** Each dynamic import begins a part; what several parts need is a part again. esbuild splits ES modules only. */
const { outputFiles, metafile } = await build({
  entryPoints: PROGRAMS,
  // Wherever it is written: the names of the parts depend on the way from here to the sources.
  outdir: 'dist',
  write: false,
  metafile: true,
  bundle: true,
  splitting: true,
  chunkNames: 'registry-trust-[hash]',
  plugins: [compiledSchema, notBundled],
  platform: 'node',
  format: 'esm',
  target: 'node24',
  sourcemap: 'inline',
  // The maps of the bundle are made from these, and do without the sources too.
  sourcesContent: false,
  legalComments: 'external',
  logLevel: 'warning',
  define: { REGISTRY_TRUST_VERSION: JSON.stringify(version), 'import.meta.dirname': '__dirname' },
})

for (const { entryPoint = '' } of Object.values(metafile.outputs))
  if (metafile.inputs[entryPoint]?.format === 'cjs')
    throw new Error(`import('${entryPoint}') has no named exports in the bundle: import a module that names them`)
const unwanted = Object.keys(metafile.inputs).filter((path) =>
  /\/(ajv\/dist\/(core|compile\/index)|semver\/)/.test(path),
)
if (unwanted.length > 0) throw new Error(`the bundle holds what it is to do without: ${unwanted.join(', ')}`)
mkdirSync(outdir, { recursive: true })
removeEarlier()
const atStart = loadedWith(AT_START)
const isLicences = ({ path }: OutputFile) => path.endsWith('.LEGAL.txt')
await Promise.all([
  ...outputFiles.filter((file) => !isLicences(file)).map(writeCommonJs),
  ...Object.keys(PROGRAMS).map(writeProgram),
])
writeLicences(outputFiles.filter(isLicences))

/** The parts that are loaded with these modules, as esbuild names them. */
function loadedWith(modules: readonly string[]): ReadonlySet<string> {
  const loaded = new Set<string>()
  const load = (part: string) => {
    if (loaded.has(part)) return
    loaded.add(part)
    for (const { path, kind, external } of metafile.outputs[part]?.imports ?? [])
      if (kind === 'import-statement' && external !== true) load(path)
  }
  for (const [part, { entryPoint }] of Object.entries(metafile.outputs))
    if (entryPoint !== undefined && modules.includes(entryPoint)) load(part)
  return loaded
}

/** The names of parts change with what is in them. */
function removeEarlier(): void {
  for (const name of readdirSync(outdir))
    if (/^registry-trust.*\.(cjs|map|txt|code)$/.test(name)) rmSync(join(outdir, name))
}

/** One list for all parts: a heading, then for each file its name and its notice. */
function writeLicences(files: readonly OutputFile[]): void {
  const notices = new Set(
    files.flatMap(({ text }) =>
      text
        .trim()
        .split(/\n\n(?=\S)/)
        .slice(1),
    ),
  )
  const text = ['Bundled license information:', ...[...notices].toSorted()].join('\n\n')
  writeFileSync(join(outdir, 'registry-trust.LEGAL.txt'), `${text}\n`)
}

/**
 * A program is a few lines that take V8's code of its parts, where that was kept, and then the part that is the program.
 */
async function writeProgram(entry: string): Promise<void> {
  const main = `${entry}-program.cjs`
  const bundled = await build({
    stdin: {
      contents: `import { takePartsOf } from './bundled/parts.ts'
        takePartsOf(__dirname + '/${main}')
        require('./${main}')`,
      resolveDir: join(import.meta.dirname),
    },
    write: false,
    bundle: true,
    external: [`./${main}`],
    platform: 'node',
    format: 'cjs',
    target: 'node24',
    minifyWhitespace: true,
    define: { 'import.meta.filename': '__filename' },
  })
  const [{ text = '' } = {}] = bundled.outputFiles
  writeFileSync(join(outdir, `${entry}.cjs`), `#!/usr/bin/env node\n${text}`, { mode: 0o755 })
}

/** As CommonJS, which Node.js starts sooner than ES modules, and which packages that call `require` are made for. */
async function writeCommonJs({ path, text }: OutputFile): Promise<void> {
  const output = basename(path, '.js')
  const name = `${output}${Object.hasOwn(PROGRAMS, output) ? '-program' : ''}.cjs`
  const { code, map } = await transform(text, {
    loader: 'js',
    platform: 'node',
    format: 'cjs',
    target: 'node24',
    // Names stay, for stack traces; the white space alone is a third of what Node would read and keep in memory.
    minifyWhitespace: true,
    minifySyntax: true,
    lineLimit: 160,
    supported: { 'dynamic-import': false },
    sourcemap: 'external',
    sourcefile: name,
    sourcesContent: false,
    logLevel: 'warning',
  })
  const linked = code.replaceAll(/(require\("\.\/registry-trust[\w-]*)\.js"\)/g, '$1.cjs")')
  const mark = atStart.has(`dist/${basename(path)}`) ? `${RUNS_AT_START}\n` : ''
  writeFileSync(join(outdir, name), `${mark}${linked.replace(/^#!.*\n/, '')}`)
  writeFileSync(join(outdir, `${name}.map`), map)
}
