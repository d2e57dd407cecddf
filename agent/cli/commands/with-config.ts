// What every command that needs a valid configuration does first, and how a run is answered.
// This room: one thin file per command: it calls a run or a diagnosis, prints the answer and gives the exit code.
// Begin here; then the file named for the command; most of them begin with this one.
// May touch: nothing but what `Wiring` hands in.
import type { LoadResult } from '../../config/load.ts'
import type { DesiredState } from '../../model/desired-state.ts'
import { asAgentError } from '../../model/errors.ts'
import { formatProblems } from '../output/status.ts'
import type { Paint } from '../output/terminal.ts'
import type { Wiring } from '../wiring.ts'

/** What a command exits with that would exit with 0, while a fragment of the configuration is refused. */
const REFUSED_EXIT = 3

/**
 * Runs `work` with the configuration; a broken one is printed with all its problems and is exit code 1. Fragments that
 * are refused are logged, and do not count as success.
 */
export async function withConfig(
  wiring: Wiring,
  work: (desired: DesiredState, loaded: LoadResult & { readonly ok: true }) => Promise<number>,
): Promise<number> {
  const loaded = await wiring.loadConfig()
  if (!loaded.ok) {
    const { problems } = loaded
    answer(wiring, { problems }, (paint) => formatProblems(problems, paint))
    return 1
  }
  if (loaded.refused.length > 0) wiring.log.error('fragment-refused', { problems: loaded.refused })
  const code = await work(loaded.desired, loaded)
  return code === 0 && loaded.refused.length > 0 ? REFUSED_EXIT : code
}

/**
 * Keeps what the fragments say now, for the day on which one of them is refused. Only where the node may be written; a
 * failure is only logged.
 */
export async function keepFragments(
  { fragments, log }: Pick<Wiring, 'fragments' | 'log'>,
  { desired, lastGood }: LoadResult & { readonly ok: true },
): Promise<void> {
  if (desired.mode === 'audit') return
  try {
    await fragments.save(lastGood)
  } catch (thrown) {
    log.warn('fragments-not-kept', { error: asAgentError(thrown).message })
  }
}

/** The JSON or the text of an answer, on standard output. */
export function answer({ options, paint, print }: Wiring, json: object, text: (paint: Paint) => string): void {
  print(options.json ? `${JSON.stringify(json, null, 2)}\n` : text(paint))
}
