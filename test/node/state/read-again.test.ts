// What the agent remembers is read again before it is taken for damaged.
import t from 'tap'
import type { FileState } from '../../../agent/model/ports.ts'
import { readAgain } from '../../../agent/node/state/read-again.ts'

const FILE: FileState = { kind: 'file', bytes: Buffer.from('{}'), mode: 0o600, uid: 0, gid: 0, mtimeMs: 0 }
const FAULT: FileState = { kind: 'unreadable', reason: 'EMFILE' }

/** A fake in that a disk cannot be made to fail a given number of reads. */
function failing(times: number) {
  let reads = 0
  return {
    reads: () => reads,
    files: {
      async read() {
        reads += 1
        return reads > times ? FILE : FAULT
      },
    },
  }
}

t.test('a read that fails once or twice is not the end', async (t) => {
  for (const times of [0, 1, 2]) {
    const { files, reads } = failing(times)
    t.equal(await readAgain(files, '/state.json'), FILE)
    t.equal(reads(), times + 1)
  }
})

t.test('what stays unreadable is told as such', async (t) => {
  const { files, reads } = failing(Number.POSITIVE_INFINITY)
  t.equal(await readAgain(files, '/state.json'), FAULT)
  t.equal(reads(), 3)
})
