// `registry-trust doctor`: what is wrong on this node, worst first, each with its remedy.
import { type Ailment, examine, type Severity } from '../../diagnose/doctor.ts'
import { harmless, type Paint, type Style } from '../output/terminal.ts'
import type { Wiring } from '../wiring.ts'

const STYLE: { readonly [severity in Severity]: Style } = { error: 'red', warning: 'yellow', info: 'dim' }

export async function doctorCommand({ options, ports, mounts, loadConfig, paint, print }: Wiring): Promise<number> {
  const loaded = await loadConfig()
  const report = await examine(
    {
      desired: loaded.ok ? loaded.desired : undefined,
      problems: loaded.ok ? [] : loaded.problems,
      address: options.containerdAddress,
      mounts: mounts(),
      stateFolder: options.stateDir,
    },
    ports,
  )
  const isWell = report.ailments.every(({ severity }) => severity === 'info')
  if (options.json) print(`${JSON.stringify({ ...report, healthy: isWell }, null, 2)}\n`)
  else {
    if (report.containerd !== null)
      print(`containerd ${report.containerd.version}, ${report.containerd.socket}, ${report.containerd.configFile}\n\n`)
    if (report.containerd === null && report.runtime !== null)
      print(`${report.runtime.name} ${report.runtime.version}, ${report.runtime.socket}\n\n`)
    print(report.ailments.map((one) => formatAilment(one, paint)).join(''))
    print(isWell ? `${paint('green', 'nothing is wrong')}\n` : '')
  }
  return isWell ? 0 : 3
}

function formatAilment({ severity, where, what, remedy }: Ailment, paint: Paint): string {
  return `${paint(STYLE[severity], severity)}  ${harmless(where)}: ${harmless(what)}\n  fix: ${harmless(remedy)}\n`
}
