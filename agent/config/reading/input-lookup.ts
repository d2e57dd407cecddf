// Finds the files that the configuration names: beside the file that names them, then in the other --config folders;
// those of a fragment in its own folder alone, so that no author gets at what belongs to another one. Each path is read
// once. Links are followed: a mounted ConfigMap is made of them.
import { posix } from 'node:path'
import { asAgentError } from '../../model/errors.ts'
import type { InputFile, InputFiles } from '../../model/ports.ts'
import { didYouMean } from '../../text/did-you-mean.ts'

export type FoundInput = {
  /** Where the file was found; where it was looked for first when it is absent. */
  readonly path: string
  readonly input: InputFile
  /** Folders that were looked through, in order. */
  readonly lookedIn: readonly string[]
  /** The folder that was named, where the file was chosen in it. */
  readonly chosenIn?: string
}

/** The file that names another one. */
export type Namer = {
  readonly folder: string
  readonly isFragment: boolean
  /** The folder below which a fragment may name files, where that is not its own. */
  readonly reach?: string
}

/** Where the files of a fragment must lie, links followed. */
export function reachOf({ folder, isFragment, reach }: Namer): string | undefined {
  return isFragment ? (reach ?? folder) : undefined
}

/** Keys of a Secret of type kubernetes.io/tls, and the one that cert-manager adds. */
const CA_KEY = 'ca.crt'
const OTHER_FORMATS = /\.(jks|jceks|p12|pfx)$/i
const SERVER_KEYS: ReadonlySet<string> = new Set(['tls.crt', 'tls.key'])

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

  /** `name` holds no `..` (checked before). Of a fragment it is in its own folder, or absent. */
  async find(name: string, namer: Namer): Promise<FoundInput> {
    const { folder: beside, isFragment } = namer
    const lookedIn = posix.isAbsolute(name) ? [''] : this.#foldersFor(beside, isFragment)
    for (const folder of lookedIn) {
      const path = folder === '' ? posix.normalize(name) : posix.join(folder, name)
      const input = await this.#readOnce(path, reachOf(namer))
      if (input.kind !== 'absent') return { path, input, lookedIn }
    }
    const first = posix.isAbsolute(name) ? posix.normalize(name) : posix.join(beside, name)
    return {
      path: first,
      input: { kind: 'absent' },
      lookedIn: lookedIn.map((folder) => folder || posix.dirname(first)),
    }
  }

  /**
   * As `find`; of a folder, which a mounted Secret or ConfigMap is, the certificates in it: `ca.crt`, as cert-manager
   * writes it, else its only file, as the target of a trust-manager Bundle has it, whose additionalFormats (JKS, PKCS#12)
   * beside it hold the same. The folder itself where neither is there.
   */
  async findCertificates(name: string, namer: Namer): Promise<FoundInput> {
    const found = await this.find(name, namer)
    if (found.input.kind !== 'folder') return found
    const names = (await listQuietly(this.#files, found.path)).filter((one) => !one.startsWith('.'))
    const readable = names.length === 1 ? names : names.filter((one) => !OTHER_FORMATS.test(one))
    const chosen = names.includes(CA_KEY) ? CA_KEY : readable.length === 1 ? readable[0] : undefined
    // The only certificate in a server's Secret is its own, which is not an authority.
    if (chosen === undefined || SERVER_KEYS.has(chosen)) return found
    const path = posix.join(found.path, chosen)
    return { ...found, path, input: await this.#readOnce(path, reachOf(namer)), chosenIn: found.path }
  }

  /** Where the file is, without keeping what it holds; beside the file that names it where it is nowhere. */
  async locate(name: string, { folder: beside, isFragment }: Namer): Promise<string> {
    if (posix.isAbsolute(name)) return posix.normalize(name)
    return (await this.#whereIs(name, this.#foldersFor(beside, isFragment))) ?? posix.join(beside, name)
  }

  /**
   * Why a fragment may not name this file: it is somebody else's. Reads on after the key that names it; undefined for a
   * file of its own
   * folder, and for one that is nowhere.
   */
  async whyOutOfReach(name: string, namer: Namer): Promise<string | undefined> {
    const { folder: own, reach } = namer
    const within = reachOf(namer)
    if (within === undefined) return undefined
    const path = posix.normalize(posix.isAbsolute(name) ? name : posix.join(own, name))
    const rule = `a fragment may only name files in its own folder (${within})`
    const isOwn = reach === undefined ? posix.dirname(path) === own : isBelow(path, reach)
    if (!isOwn) return `names ${path}, which lies in another folder: ${rule}`
    // A look without reading: what is named may be a secret.
    const input = await readInput(this.#files, path, 0, within)
    if (input.kind === 'unreadable' && input.isOutside === true)
      return `names ${path}, a link that leads out of its folder: ${rule}`
    if (input.kind !== 'absent') return undefined
    const elsewhere = await this.#whereIs(name, this.#folders)
    return elsewhere === undefined ? undefined : `names ${name}, which is ${elsewhere}: ${rule}`
  }

  #foldersFor(beside: string, isFragment: boolean): readonly string[] {
    return isFragment ? [beside] : [...new Set([beside, ...this.#folders])]
  }

  async #whereIs(name: string, folders: readonly string[]): Promise<string | undefined> {
    for (const folder of folders) {
      const names = await listQuietly(this.#files, posix.join(folder, posix.dirname(name)))
      if (names.includes(posix.basename(name))) return posix.join(folder, name)
    }
    return undefined
  }

  /** `; did you mean x?` from the names that are there. */
  async suggest(found: FoundInput): Promise<string> {
    const names: string[] = []
    for (const folder of found.lookedIn) names.push(...(await listQuietly(this.#files, folder)))
    return didYouMean(posix.basename(found.path), names.slice(0, 1000))
  }

  #readOnce(path: string, within: string | undefined): Promise<InputFile> {
    const key = `${within ?? ''}\0${path}`
    const known = this.#read.get(key)
    if (known !== undefined) return known
    const reading = readInput(this.#files, path, this.#maxBytes, within)
    this.#read.set(key, reading)
    return reading
  }
}

function isBelow(path: string, folder: string): boolean {
  return path.startsWith(folder === '/' ? folder : `${folder}/`)
}

export async function readInput(
  files: InputFiles,
  path: string,
  maxBytes: number,
  within?: string,
): Promise<InputFile> {
  try {
    return await files.read(path, { maxBytes, ...(within === undefined ? {} : { within }) })
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
