// Run as a program of its own, so that it can be killed and its system calls can be made to fail: one run of the agent on a scratch root.
// Arguments: root, file with the desired state, command; prints one JSON line with the outcome.
import { readFileSync } from 'node:fs'
import { perform, type Step } from './perform.ts'

const [root = '', desiredFile = '', command = ''] = process.argv.slice(2)
const step = { command, desired: JSON.parse(readFileSync(desiredFile, 'utf8')) } as Step

perform(step, root).then(
  ({ outcome, problems }) => console.log(JSON.stringify({ outcome, problems })),
  (error: unknown) => console.log(JSON.stringify({ outcome: 'threw', error: String(error) })),
)
