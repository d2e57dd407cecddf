// What every command that needs a valid configuration does first, and how a run is answered.
import type { DesiredState } from '../../model/desired-state.ts'
import type { Problem } from '../../model/errors.ts'
import { formatProblems } from '../output/status.ts'
import type { Paint } from '../output/terminal.ts'
import type { Wiring } from '../wiring.ts'

/** Runs `work` with the configuration; a broken one is printed with all its problems and is exit code 1. */
export async function withConfig(
  wiring: Wiring,
  work: (desired: DesiredState, warnings: readonly Problem[]) => Promise<number>,
): Promise<number> {
  const loaded = await wiring.loadConfig()
  if (loaded.ok) return work(loaded.desired, loaded.problems)
  const { problems } = loaded
  answer(wiring, { problems }, (paint) => formatProblems(problems, paint))
  return 1
}

/** The JSON or the text of an answer, on standard output. */
export function answer({ options, paint, print }: Wiring, json: object, text: (paint: Paint) => string): void {
  print(options.json ? `${JSON.stringify(json, null, 2)}\n` : text(paint))
}
