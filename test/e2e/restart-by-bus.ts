// Run as a program in a place that has nothing of the node but its bus: restarts a unit through the agent's own code.
// Arguments: bus socket, unit. Prints one JSON line: the job's result, and what this process may and sees.
import { readdirSync, readFileSync } from 'node:fs'
import { systemd } from '../../agent/node/systemd.ts'

const [busSocket = '', unit = ''] = process.argv.slice(2)
const bus = systemd({ busSocket })
await bus.resetFailed(unit)
const { result } = await bus.restart(unit, { timeoutMs: 15_000 })
const capabilities = /^CapEff:\s*(\S+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]
const bounding = /^CapBnd:\s*(\S+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]
console.log(
  JSON.stringify({
    result,
    pid: process.pid,
    uid: process.getuid?.(),
    capabilities,
    bounding,
    run: readdirSync('/run'),
  }),
)
