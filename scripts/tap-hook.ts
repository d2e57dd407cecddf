// Loaded before a test file (node --import): what imports tap gets the one file of tap-bundle.ts.
import { registerHooks } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const url = pathToFileURL(join(import.meta.dirname, '../.tap/node_modules/@tapjs/all/dist/tap.mjs')).href
registerHooks({
  resolve: (specifier, context, next) =>
    specifier === 'tap' ? { url, format: 'module', shortCircuit: true } : next(specifier, context),
})
