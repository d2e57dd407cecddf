// Finds the files that the configuration names: beside the file that names them, then in the other --config folders.
// Each path is read once. Links are followed: a mounted ConfigMap is made of them.
import { posix } from 'node:path'
import { asAgentError } from '../model/errors.ts'
import type { InputFile, InputFiles } from '../model/ports.ts'
import { didYouMean } from '../text/did-you-mean.ts'

export type FoundInput = {
  /** Where the file was found; where it was looked for first when it is absent. */
  readonly path: string
  readonly input: InputFile
  /** Folders that were looked through, in order. */
  readonly lookedIn: readonly string[]
}

export class InputLookup {
  readonly #files: InputFiles
  readonly #folders: readonly string[]
  readonly #maxBytes: number
  readonly #read = new Map<string, Promise<InputFile>>()

  constructor(files: InputFiles, folders: readonly string[], maxBytes: number) {
    this.#files = files
    this.#folders = folders
    this.#maxBytes = maxBytes
  }

  /** `name` holds no `..` (checked before); `beside` is the folder of the file that names it. */
  async find(name: string, beside: string): Promise<FoundInput> {
    const lookedIn = posix.isAbsolute(name) ? [''] : [...new Set([beside, ...this.#folders])]
    for (const folder of lookedIn) {
      const path = folder === '' ? posix.normalize(name) : posix.join(folder, name)
      const input = await this.#readOnce(path)
      if (input.kind !== 'absent') return { path, input, lookedIn }
    }
    const first = posix.isAbsolute(name) ? posix.normalize(name) : posix.join(beside, name)
    return {
      path: first,
      input: { kind: 'absent' },
      lookedIn: lookedIn.map((folder) => folder || posix.dirname(first)),
    }
  }

  /** Where the file is, without keeping what it holds; beside the file that names it where it is nowhere. */
  async locate(name: string, beside: string): Promise<string> {
    if (posix.isAbsolute(name)) return posix.normalize(name)
    for (const folder of new Set([beside, ...this.#folders])) {
      const names = await listQuietly(this.#files, posix.join(folder, posix.dirname(name)))
      if (names.includes(posix.basename(name))) return posix.join(folder, name)
    }
    return posix.join(beside, name)
  }

  /** `; did you mean x?` from the names that are there. */
  async suggest(found: FoundInput): Promise<string> {
    const names: string[] = []
    for (const folder of found.lookedIn) names.push(...(await listQuietly(this.#files, folder)))
    return didYouMean(posix.basename(found.path), names.slice(0, 1000))
  }

  #readOnce(path: string): Promise<InputFile> {
    const known = this.#read.get(path)
    if (known !== undefined) return known
    const reading = readInput(this.#files, path, this.#maxBytes)
    this.#read.set(path, reading)
    return reading
  }
}

export async function readInput(files: InputFiles, path: string, maxBytes: number): Promise<InputFile> {
  try {
    return await files.read(path, { maxBytes })
  } catch (error) {
    return { kind: 'unreadable', reason: asAgentError(error).message }
  }
}

/** For hints only: a folder that cannot be listed gives none. */
export async function listQuietly(files: InputFiles, folder: string): Promise<readonly string[]> {
  try {
    return await files.list(folder)
  } catch {
    return []
  }
}
