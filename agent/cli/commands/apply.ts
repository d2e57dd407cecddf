// `registry-trust apply`: one transaction, always proved. Under `mode: audit` it is `plan`.
import type { Run } from '../../model/run.ts'
import type { RunPorts } from '../../model/run-ports.ts'
import { applyRun } from '../../reconcile/run/entry.ts'
import { applyExit } from '../exit-codes.ts'
import { progressLine, withProgress } from '../output/progress.ts'
import { applyJson, formatApply } from '../output/run.ts'
import type { Wiring } from '../wiring.ts'
import { planCommand } from './plan.ts'
import { answer, keepFragments, withConfig } from './with-config.ts'

export async function applyCommand(wiring: Wiring): Promise<number> {
  return withConfig(wiring, async (desired, loaded) => {
    if (desired.mode === 'audit') return planCommand(wiring)
    const { consentUnrehearsed, containerdAddress, allowOrphan } = wiring.options
    const options = { address: containerdAddress, byHand: true, consentUnrehearsed, allowOrphan, signal: wiring.signal }
    const run = await showingProgress(wiring, (ports) => applyRun(desired, options, ports))
    await keepFragments(wiring, loaded)
    answer(wiring, applyJson(run), (paint) => formatApply(run, paint))
    return applyExit(run, desired)
  })
}

/** Only on a terminal, and never beside JSON: a program that reads the output wants only the answer. */
async function showingProgress(
  { options, ports, print, screen }: Wiring,
  work: (ports: RunPorts) => Promise<Run>,
): Promise<Run> {
  if (screen === undefined || options.json) return work(ports)
  const line = progressLine(print, screen.columns)
  try {
    return await work(withProgress(ports, line))
  } finally {
    line.clear()
  }
}
