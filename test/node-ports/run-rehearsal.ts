// A process of its own that starts a rehearsal and then waits: for the test that kills it. Arguments: binary, base folder, config text.
import { connectCri } from '../../agent/node/cri.ts'
import { rehearsalRunner } from '../../agent/node/rehearsal.ts'

const [binary = '', baseFolder = '', config = ''] = process.argv.slice(2)
const runner = rehearsalRunner({ connect: connectCri, baseFolder })
const scratch = await runner.scratch()
await scratch.write('config.toml', Buffer.from(config.replaceAll('SCRATCH', scratch.folder)))
const daemon = await runner.start({ binary, scratch, environment: {}, timeoutMs: 10_000 })
process.stdout.write(daemon.started ? 'started\n' : `${daemon.reason}\n`)
setInterval(() => undefined, 60_000)
