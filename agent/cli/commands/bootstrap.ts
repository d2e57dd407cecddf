// `registry-trust bootstrap`: what makes a node trust before the agent's own image is pulled, in the format of what sets
// the node up. Reads trust.yaml alone; the notes go to standard error.
import { FORMATS, renderBootstrap } from '../bootstrap/render.ts'
import type { Wiring } from '../wiring.ts'
import { withConfig } from './with-config.ts'

export async function bootstrapCommand(wiring: Wiring): Promise<number> {
  return withConfig(wiring, async (desired) => {
    const format = FORMATS.find((one) => one === wiring.options.for) ?? 'cloud-init'
    const { text, notes } = renderBootstrap(format, desired)
    wiring.print(text)
    for (const note of notes) wiring.log.warn('bootstrap-note', { note })
    return 0
  })
}
