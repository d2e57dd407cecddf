// A process of its own that takes the node's lock, says so, and keeps it until it is ended. Argument: the state folder.
import { nodeLock } from '../../agent/node/lock.ts'

await nodeLock({ folder: process.argv[2] ?? '' }).acquire()
process.stdout.write('held\n')
setInterval(() => undefined, 60_000)
