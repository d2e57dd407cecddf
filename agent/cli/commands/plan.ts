// `registry-trust plan`: what would change here and why, with the rehearsal's verdict. Never writes.
import { planWithContainerd } from '../../reconcile/run/another-containerd.ts'
import { planRun } from '../../reconcile/run/entry.ts'
import { planExit } from '../exit-codes.ts'
import { anotherContainerdExit, anotherContainerdJson, formatAnotherContainerd } from '../output/another-containerd.ts'
import { fileDiffs, formatDiffs } from '../output/diff.ts'
import { formatPlan, planJson } from '../output/run.ts'
import type { Wiring } from '../wiring.ts'
import { answer, withConfig } from './with-config.ts'

export async function planCommand(wiring: Wiring): Promise<number> {
  return withConfig(wiring, async (desired) => {
    const { consentUnrehearsed, containerdAddress } = wiring.options
    const options = { address: containerdAddress, byHand: true, consentUnrehearsed, signal: wiring.signal }
    const { withContainerd } = wiring.options
    if (withContainerd !== undefined) {
      const found = await planWithContainerd(withContainerd, desired, options, wiring.ports)
      answer(wiring, anotherContainerdJson(found), (paint) => formatAnotherContainerd(found, paint))
      return anotherContainerdExit(found)
    }
    const run = await planRun(desired, options, wiring.ports)
    const changes = run.planned?.plan.changes ?? []
    const diffs = wiring.options.diff ? await fileDiffs(changes, (path) => wiring.files.read(path)) : undefined
    answer(wiring, { ...planJson(run), ...(diffs !== undefined && { diffs }) }, (paint) =>
      [formatPlan(run, paint), ...(diffs === undefined ? [] : [formatDiffs(diffs, paint)])].join('\n'),
    )
    return planExit(run)
  })
}
