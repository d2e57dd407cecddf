// A file that a person asked for (port OutputFile): created anew, never through a link that somebody else put there.
import { writeFile } from 'node:fs/promises'
import { AgentError } from '../../model/errors.ts'
import type { OutputFile } from '../../model/ports.ts'
import { errnoOf } from './rooted-folder.ts'

export const outputFile: OutputFile = async (path, bytes) => {
  try {
    await writeFile(path, bytes, { flag: 'wx', mode: 0o600 })
  } catch (cause) {
    const reason = errnoOf(cause) === 'EEXIST' ? 'it exists already' : String((cause as Error).message)
    throw new AgentError(
      'WRITE_FAILED',
      `${path} cannot be written: ${reason}; give another path with --output`,
      { path },
      { cause },
    )
  }
}
