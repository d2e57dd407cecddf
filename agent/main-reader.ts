// Composition root of the reading thread: decodes the configuration where an input can end no more than this thread.
// Started by guarded-load.ts through the port ReadingThread; it sees the files of the configuration and nothing of the
// node.
import { createHash } from 'node:crypto'
import { parentPort, workerData } from 'node:worker_threads'
import type { Decoder } from './config/declarations/anchors.ts'
import {
  packResult,
  type ReadingAnswer,
  type ReadingJob,
  type ReadingNote,
  recordingFiles,
} from './config/guarded-load.ts'
import { loadDesiredState } from './config/load.ts'
import { problem } from './model/errors.ts'
import type { ThreadMessage } from './model/ports.ts'
import { inputFiles } from './node/files/input-files.ts'
import { type Decoded, decodeCertificates } from './pki/decode/decode.ts'

/** Milliseconds: what costs more is remembered. */
const COSTLY_MS = 20
/** Milliseconds in one run for all that is costly; the rest follows at the next look. */
const MOST_COSTLY_MS = 30_000

const job = workerData as ReadingJob
const looked = new Map<string, string>()
const used: string[] = []
let spentMs = 0
let isPartial = false

const tell = (message: ThreadMessage) => parentPort?.postMessage(message)
const note = (told: ReadingNote) => tell({ note: told })

/** A store that calculates for seconds is opened once, not at each look (RFC 7292, appendix B; RFC 8018). */
const decode: Decoder = (bytes, options) => {
  const { password } = options
  const hash = createHash('sha256').update(`${bytes.length} `).update(bytes)
  if (password !== undefined) hash.update(password.reveal())
  const key = hash.digest('base64')
  used.push(key)
  const known = job.decoded.get(key)
  if (known !== undefined) return known
  if (spentMs > MOST_COSTLY_MS) {
    isPartial = true
    return nothing('it is opened at the next look: the files before it have used up the time of this one')
  }
  const started = performance.now()
  const decoded = decodeCertificates(bytes, options)
  const took = performance.now() - started
  if (took > COSTLY_MS) {
    spentMs += took
    note({ key, decoded })
  }
  return decoded
}

function nothing(reason: string): Decoded {
  return { certificates: [], problems: [problem('ANCHOR_TOO_COSTLY', reason)], encoding: [], repeated: [] }
}

async function main(): Promise<void> {
  const result = await loadDesiredState({
    paths: job.paths,
    files: recordingFiles(inputFiles(), looked),
    now: job.now,
    harmful: job.harmful,
    lastGood: job.lastGood,
    onStep: (step) => note({ step }),
    decode,
  })
  tell({ answer: { result: packResult(result), looked, used, isPartial } satisfies ReadingAnswer })
}

void main()
