// Writes every generated file of the monitoring, or with --check names those that are not current (exit 1).
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { parseArgs } from 'node:util'
import { generatedFiles } from './generated-files.ts'

const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } })
const root = new URL('../../', import.meta.url)

for (const { path, render } of generatedFiles()) {
  const file = new URL(path, root)
  const before = read(file)
  const after = render(before)
  if (after === before) continue
  if (values.check) {
    console.error(`${path} is not current: run scripts/render-monitoring`)
    process.exitCode = 1
  } else {
    mkdirSync(dirname(file.pathname), { recursive: true })
    writeFileSync(file, after)
    console.error(`wrote ${path}`)
  }
}

function read(file: URL): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return ''
    throw error
  }
}
