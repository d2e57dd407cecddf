// What a run hands to the restart machine.
import type { RunPorts } from '../../model/run-ports.ts'
import type { MachinePorts } from '../../restart/own-record.ts'

export function machinePorts(
  ports: Pick<RunPorts, 'clock' | 'log' | 'files' | 'restarts' | 'systemd' | 'processes' | 'connectCri' | 'store'>,
): MachinePorts {
  const { clock, log, files, restarts, systemd, processes, connectCri, store } = ports
  return { clock, log, files, restarts, systemd, processes, connectCri, audit: (line) => store.audit(line) }
}
