// Runs one piece of work in a thread of its own with bounds on memory and time (port ReadingThread). What an input does
// to it, the process that guards the node goes on: a heap that is used up, an endless loop and a crash all end the
// thread alone.
import { setFlagsFromString } from 'node:v8'
import { Worker } from 'node:worker_threads'
import type { ReadingEnd, ReadingThread, ThreadMessage } from '../../model/ports.ts'
import { keepHeapAsItWas } from './heap.ts'

export type ReadingThreadOptions = {
  /** File with the program of the thread. */
  readonly program: string
  /** MiB of old generation: 1000 registries with everything declared take less than 40. */
  readonly heapMb?: number
  /** Milliseconds from one message to the next. */
  readonly patienceMs?: number
}

const YOUNG_MB = 4
/** From the end that is asked for to the end. */
const END_MS = 2_000

export function readingThread({ program, heapMb = 64, patienceMs = 10_000 }: ReadingThreadOptions): ReadingThread {
  return (job, onNote) =>
    new Promise((resolve) => {
      // The flag that a sidecar is started with would count for this thread too, before the limit given here. The heap
      // that the process itself may use was fixed when it started.
      setFlagsFromString('--max-old-space-size=0')
      const worker = new Worker(program, {
        workerData: job,
        env: {},
        argv: [],
        execArgv: [],
        resourceLimits: { maxOldGenerationSizeMb: heapMb, maxYoungGenerationSizeMb: YOUNG_MB },
      })
      let end: ReadingEnd = { ok: false, reason: 'its reader ended without an answer' }
      let isGivenUp = false
      const ended = () => {
        clearTimeout(watchdog)
        keepHeapAsItWas()
        resolve(end)
      }
      const giveUp = () => {
        isGivenUp = true
        end = { ok: false, reason: `reading it takes longer than ${patienceMs / 1000} s` }
        void worker.terminate()
        // A thread that waits in the kernel, as for a mount that hangs, does not end before the kernel answers.
        watchdog = setTimeout(ended, END_MS)
        worker.unref()
      }
      let watchdog = setTimeout(giveUp, patienceMs)
      worker.on('message', (message: ThreadMessage) => {
        if (isGivenUp) return
        clearTimeout(watchdog)
        watchdog = setTimeout(giveUp, patienceMs)
        if ('answer' in message) end = { ok: true, value: message.answer }
        else onNote(message.note)
      })
      worker.on('error', (error: NodeJS.ErrnoException) => {
        const isMemory = error.code === 'ERR_WORKER_OUT_OF_MEMORY'
        end = { ok: false, reason: isMemory ? `reading it takes more than ${heapMb} MB of memory` : error.message }
      })
      worker.on('exit', ended)
    })
}
