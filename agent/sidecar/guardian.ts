// Finishes, or takes back, a restart of containerd whose agent is gone: without containerd the kubelet cannot start the
// agent again. The rules: a record is obeyed only where its unit is one that this restarter may restart, and its file
// the one that this unit's containerd takes; whoever drives is left alone while its lease runs.
import { configFileOf } from '../containerd/unit-config.ts'
import { asAgentError } from '../model/errors.ts'
import type { RestartRecord } from '../model/restart.ts'
import { isOver } from '../restart/machine.ts'
import type { MachinePorts } from '../restart/own-record.ts'
import { isAbandoned, settle } from '../restart/settle.ts'

const POLL_MS = 500
const FAULT_PAUSE_MS = 2_000

export type Guardian = {
  /** Ends when nothing is left half done by an agent that is gone. */
  stop(): Promise<void>
}

export function startGuardian(ports: MachinePorts, isPermitted: (unit: string) => Promise<boolean>): Guardian {
  const stopping = new AbortController()
  const { clock, log, restarts } = ports
  let refused = ''
  let permitted = ''
  const refusal = async (record: RestartRecord): Promise<string | undefined> => {
    const asked = JSON.stringify([record.id, record.unit, record.configFile])
    if (permitted === asked) return undefined
    const why = await whyNot(record, ports, isPermitted)
    if (why === undefined) permitted = asked
    return why
  }
  const turn = async (): Promise<'idle' | 'busy'> => {
    const record = await restarts.read()
    if (record === undefined || isOver(record)) return 'idle'
    // Asked while the agent still drives: when it is gone, no systemd that answers late holds up config.toml.
    if (record.driver === 'agent' && !isAbandoned(record, ports)) {
      await refusal(record).catch(() => undefined)
      return 'busy'
    }
    const why = await refusal(record)
    if (why !== undefined) {
      if (refused !== record.id) log.error('restart-record-refused', { id: record.id, reason: why })
      refused = record.id
      return 'idle'
    }
    const end = await settle(ports, 'restarter', { isMine: true, isPatient: !stopping.signal.aborted })
    log.info('restart-settled', { id: record.id, phase: end?.phase, reason: end?.failure?.message })
    return 'idle'
  }
  const running = (async () => {
    for (;;) {
      try {
        const state = await turn()
        if (stopping.signal.aborted && state === 'idle') return
        await clock.sleep(POLL_MS)
      } catch (thrown) {
        const { code, message } = asAgentError(thrown)
        log.error('restart-not-settled', { code, error: message })
        if (stopping.signal.aborted) return
        await clock.sleep(FAULT_PAUSE_MS)
      }
    }
  })()
  return {
    stop() {
      stopping.abort()
      return running
    },
  }
}

async function whyNot(
  { unit, configFile }: RestartRecord,
  { systemd }: MachinePorts,
  isPermitted: (unit: string) => Promise<boolean>,
): Promise<string | undefined> {
  if (unit === undefined) return 'it names no unit, and this restarter sees no processes'
  if (!(await isPermitted(unit))) return `${unit} is not a unit that this restarter may restart`
  const facts = await systemd.unit(unit)
  const own = facts === undefined ? undefined : configFileOf(facts)
  return own === configFile ? undefined : `${unit} reads ${own ?? 'no file'}, not ${configFile}`
}
