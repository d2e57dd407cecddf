// Run as a program of its own, so that it can be killed and its system calls can be made to fail: the agent's real runs on a scratch root.
// Arguments: root, file with the desired state, then commands; each prints one JSON line.
import { readFileSync } from 'node:fs'
import type { DesiredState } from '../../agent/model/desired-state.ts'
import { applyRun } from '../../agent/reconcile/reconcile.ts'
import { rollbackRun } from '../../agent/reconcile/revert.ts'
import type { Run } from '../../agent/reconcile/run.ts'
import { recover } from '../../agent/reconcile/transaction.ts'
import { uninstallRun } from '../../agent/reconcile/uninstall.ts'
import { scratchPorts } from '../fakes/scratch-runtime.ts'

const [root = '', desiredFile = '', ...commands] = process.argv.slice(2)
const desired = JSON.parse(readFileSync(desiredFile, 'utf8')) as DesiredState
const ports = scratchPorts(root)
const options = { address: undefined, byHand: true, consentUnrehearsed: false }

const COMMANDS: { readonly [name: string]: () => Promise<Run | undefined> } = {
  apply: () => applyRun(desired, options, ports),
  rollback: () => rollbackRun(desired, options, ports),
  uninstall: () => uninstallRun(desired, options, ports),
  recover: async () => {
    await recover(ports)
    return undefined
  },
}

async function main(): Promise<void> {
  for (const name of commands) {
    const command = COMMANDS[name]
    if (command === undefined) throw new Error(`no command ${name}`)
    try {
      const run = await command()
      const problems = run?.problems.map(({ code, message }) => `${code}: ${message}`) ?? []
      console.log(JSON.stringify({ command: name, outcome: run?.outcome ?? 'done', problems }))
    } catch (error) {
      console.log(JSON.stringify({ command: name, outcome: 'threw', problems: [String(error)] }))
    }
  }
}

void main()
