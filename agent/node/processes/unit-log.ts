// The newest lines of a unit in systemd's journal (port UnitLog). Only where the agent runs on the node itself: a Pod
// has neither the program nor the journal, and the journal of the machine it runs on is not that of --root.
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { UnitLog } from '../../model/ports.ts'

const TIMEOUT_MS = 10_000
const MOST_BYTES = 8 * 1024 * 1024

export function unitLog({ root }: { readonly root: string }): UnitLog {
  return async (unit, lines) => {
    if (root !== '/') return ''
    const argv = ['--unit', unit, '--lines', String(lines), '--output', 'short-iso-precise', '--no-pager', '--quiet']
    try {
      return (await promisify(execFile)('journalctl', argv, { timeout: TIMEOUT_MS, maxBuffer: MOST_BYTES })).stdout
    } catch {
      return ''
    }
  }
}
