// `registry-trust lint PATH…`: flags that switch certificate verification off, and what to write instead. Reads files,
// changes nothing.
import { posix } from 'node:path'
import type { InsecureFlag } from '../../lint/flag.ts'
import { findInsecureFlags } from '../../lint/rules.ts'
import { sarif } from '../../lint/sarif.ts'
import { AgentError } from '../../model/errors.ts'
import type { InputFiles } from '../../model/ports.ts'
import { harmless } from '../output/terminal.ts'
import type { Wiring } from '../wiring.ts'

const MAX_BYTES = 1024 * 1024
const MAX_FILES = 20_000
const MAX_DEPTH = 30
/** Others' code, and what a version control system keeps of files that are looked at anyway. */
const SKIPPED: ReadonlySet<string> = new Set(['.git', '.hg', '.svn', 'node_modules', 'vendor', '.terraform'])

export type LintFinding = { readonly file: string } & InsecureFlag

type Linted = { readonly findings: readonly LintFinding[]; readonly files: number; readonly skipped: readonly string[] }

export async function lintCommand({ options, inputs, paint, print, version }: Wiring): Promise<number> {
  const { findings, files, skipped } = await lintPaths(options.operands, inputs)
  if (options.format === 'sarif') print(`${JSON.stringify(sarif(findings, version), null, 2)}\n`)
  else if (options.json || options.format === 'json') print(`${JSON.stringify(findings, null, 2)}\n`)
  else {
    for (const { file, line, column, rule, found, remedy } of findings)
      print(
        `${paint('bold', harmless(`${file}:${line}:${column}`))} ${paint('red', harmless(found))} (${rule})\n  write instead: ${remedy}\n`,
      )
    for (const path of skipped) print(`${paint('yellow', 'not looked at')} ${harmless(path)}\n`)
    print(
      `${findings.length} ${findings.length === 1 ? 'place' : 'places'} in ${files} ${files === 1 ? 'file' : 'files'}\n`,
    )
  }
  return findings.length === 0 ? 0 : 3
}

/**
 * Files, and folders with all that lies in them; what is too large, too deep or unreadable is named in `skipped`.
 * @throws AgentError LINT_PATH_MISSING for a path that does not exist, LINT_TOO_MANY_FILES for more than MAX_FILES files.
 */
export async function lintPaths(paths: readonly string[], inputs: InputFiles): Promise<Linted> {
  const findings: LintFinding[] = []
  const skipped: string[] = []
  let files = 0
  const lintPath = async (path: string, depth: number): Promise<void> => {
    const input = await inputs.read(path, { maxBytes: MAX_BYTES })
    switch (input.kind) {
      case 'folder': {
        if (depth >= MAX_DEPTH) return void skipped.push(`${path}: more than ${MAX_DEPTH} folders deep`)
        // `..data` and similar entries are what the names beside them lead to.
        const names = (await inputs.list(path)).filter((name) => !SKIPPED.has(name) && !name.startsWith('..'))
        for (const name of names) await lintPath(posix.join(path, name), depth + 1)
        return
      }
      case 'file': {
        files += 1
        if (files > MAX_FILES)
          throw new AgentError('LINT_TOO_MANY_FILES', `more than ${MAX_FILES} files, up to ${path}`)
        if (input.bytes.includes(0)) return
        findings.push(...findInsecureFlags(input.bytes.toString('utf8'), path).map((flag) => ({ file: path, ...flag })))
        return
      }
      case 'too-large':
        return void skipped.push(`${path}: ${input.bytes} bytes`)
      case 'absent':
        if (depth === 0) throw new AgentError('LINT_PATH_MISSING', `${path}: there is no such file or folder`)
        return
      case 'unreadable':
        return void skipped.push(`${path}: ${input.reason}`)
      default:
        return input satisfies never
    }
  }
  for (const path of paths) await lintPath(path, 0)
  return { findings, files, skipped }
}
