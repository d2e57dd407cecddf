// Loads configurations from real files in a folder of the test, and shortens the folder away in messages.
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { type LoadResult, loadDesiredState } from '../../agent/config/load.ts'
import type { DesiredState } from '../../agent/model/desired-state.ts'
import type { Problem } from '../../agent/model/errors.ts'
import { inputFiles } from '../../agent/node/input-files.ts'

export type Files = { readonly [path: string]: string | Buffer }

/** A little later: certificates that a test makes are valid from their second on. */
export const NOW = Date.now() + 60_000

export async function loadFiles(
  folder: string,
  files: Files,
  paths: readonly string[] = ['.'],
  now = NOW,
): Promise<LoadResult> {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), content)
  }
  return await loadDesiredState({ paths: paths.map((path) => join(folder, path)), files: inputFiles(), now })
}

/** `CODE trust.yaml:1:2: …` */
export function told(problems: readonly Problem[], folder: string): readonly string[] {
  return problems.map(({ code, message }) => `${code} ${message.replaceAll(`${folder}/`, '').replaceAll(folder, '.')}`)
}

/** The desired state; a failed load throws its messages, so that a test shows them. */
export function desiredOf(result: LoadResult): DesiredState {
  if (result.ok) return result.desired
  throw new Error(result.problems.map((problem) => problem.message).join('\n'))
}
