// `registry-trust status --all`: every node of the cluster, as the fleet component reports it through the API server.
import { type FleetReader, fleetReader } from '../../cluster/fleet-reader.ts'
import type { FleetReport } from '../../fleet/report/report.ts'
import { joinPages, readFleetReport } from '../../fleet/report/report-text.ts'
import { AgentError, asAgentError } from '../../model/errors.ts'
import { formatFleet, isFleetWell, isUnderWay, progressLines } from '../output/fleet.ts'
import type { Wiring } from '../wiring.ts'

export const NAMESPACE = 'registry-trust'
/** The component answers with at most this many. */
const PAGE = 1000
/** What a terminal shows without scrolling is enough; the counts cover all. */
const LISTED = 50
const WATCH_MS = 2_000
/** Lines around the table of nodes. */
const AROUND = 12
const HOME_AND_CLEAR = '\u001b[H\u001b[J'

export async function statusAllCommand(wiring: Wiring): Promise<number> {
  const { options, signal } = wiring
  const reader = fleetReader(options.kubeconfig, options.namespace ?? NAMESPACE)
  const readFleet = async () => (options.json ? await everyNode(reader, signal) : await page(reader, 0, LISTED, signal))
  if (options.watch) return await watch(wiring, readFleet)
  const report = await readFleet()
  wiring.print(options.json ? `${JSON.stringify(report, null, 2)}\n` : format(wiring, report))
  return isFleetWell(report) ? 0 : 3
}

/** Throws as the reader does. */
export async function everyNode(reader: FleetReader, signal: AbortSignal): Promise<FleetReport> {
  const first = await page(reader, 0, PAGE, signal)
  const others: FleetReport[] = []
  for (let offset = PAGE; offset < first.matching; offset += PAGE) others.push(await page(reader, offset, PAGE, signal))
  return joinPages(first, others)
}

async function page(reader: FleetReader, offset: number, limit: number, signal: AbortSignal): Promise<FleetReport> {
  const report = readFleetReport(await reader.read({ offset, limit }, signal))
  if (report !== undefined) return report
  throw new AgentError('CLUSTER_FAILED', 'what answers is not a fleet component of this version')
}

/** On a terminal the picture is drawn anew; elsewhere a line is written for what has changed. Ends with the signal. */
async function watch(wiring: Wiring, readFleet: () => Promise<FleetReport>): Promise<number> {
  const { print, signal, ports, options, screen } = wiring
  let code = 3
  let told = ''
  while (!signal.aborted) {
    const begunMs = ports.clock.monotonic()
    try {
      const report = await readFleet()
      code = isFleetWell(report) ? 0 : 3
      const text = options.json ? `${JSON.stringify(report)}\n` : format(wiring, report, screen === undefined)
      if (screen !== undefined && !options.json) print(`${HOME_AND_CLEAR}${text}`)
      else if (text !== told) print(text)
      told = text
    } catch (thrown) {
      if (signal.aborted) break
      const error = asAgentError(thrown)
      // Waiting does not grant the missing rights.
      if (error.code === 'CLUSTER_FORBIDDEN') throw error
      code = 1
      if (error.message !== told) print(`${error.message}\n`)
      told = error.message
    }
    const pauseMs = Math.max(0, WATCH_MS - (ports.clock.monotonic() - begunMs))
    await ports.clock.sleep(pauseMs, { signal }).catch(() => undefined)
  }
  return code
}

function format({ paint, screen }: Wiring, report: FleetReport, onlyProgress = false): string {
  if (onlyProgress && isUnderWay(report)) return progressLines(report, paint)
  const rows = screen === undefined ? LISTED : Math.max(5, Math.min(LISTED, screen.rows() - AROUND))
  return formatFleet(report, { paint, width: screen?.columns(), rows })
}
