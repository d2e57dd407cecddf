// --config paths → the bytes of every file of the configuration, in the order in which they count. Bounded in number
// and in total, so that many files cost no more than a large one; reads through the port alone.
import { posix } from 'node:path'
import { asAgentError } from '../model/errors.ts'
import type { InputFile, InputFiles } from '../model/ports.ts'
import { readContainerdRegistries } from './foreign/containerd-registries.ts'
import { readForeignFolder } from './foreign/foreign-inputs.ts'
import { readK3sRegistries } from './foreign/k3s-registries.ts'
import { CONFIG_MAX_BYTES, decodeText, type RawFile } from './reading/config-file.ts'
import { listQuietly, readInput } from './reading/input-lookup.ts'
import type { Report } from './reading/report.ts'

const MAIN_FILE = 'trust.yaml'
const FRAGMENTS = 'registries.d'
const MAX_FRAGMENTS = 200
/** Of all fragments together: four ConfigMaps as large as Kubernetes allows. */
const FRAGMENTS_MAX_BYTES = 4 * 1024 * 1024

export type Collected = {
  readonly raw: readonly RawFile[]
  /** Where the files lie that the configuration names. */
  readonly folders: readonly string[]
  /** Every fragment, those that could not be read too. */
  readonly fragments: ReadonlySet<string>
}

export type Collecting = {
  readonly files: InputFiles
  readonly onStep: (path: string) => void
  readonly harmful: ReadonlyMap<string, string>
}

/** What cannot be read is reported, and left out. */
export async function collectFiles(
  paths: readonly string[],
  collecting: Collecting,
  report: Report,
): Promise<Collected> {
  const collector = new Collector(collecting, report)
  for (const path of paths) await collector.add(posix.normalize(path))
  if (collector.raw.length === 0 && report.isEmpty) {
    report.addFile('CONFIG_MISSING', paths.join(', ') || MAIN_FILE, 0, `there is no ${MAIN_FILE}`)
  }
  return { raw: collector.raw, folders: [...new Set(collector.folders)], fragments: collector.fragments }
}

class Collector {
  readonly raw: RawFile[] = []
  readonly folders: string[] = []
  readonly fragments = new Set<string>()
  readonly #files: InputFiles
  readonly #onStep: (path: string) => void
  readonly #harmful: ReadonlyMap<string, string>
  readonly #report: Report

  constructor({ files, onStep, harmful }: Collecting, report: Report) {
    this.#files = files
    this.#onStep = onStep
    this.#harmful = harmful
    this.#report = report
  }

  async add(path: string): Promise<void> {
    const input = await this.#read(path)
    if (input.kind === 'folder') {
      const folder = path.replace(/(.)\/$/, '$1')
      this.folders.push(folder)
      await this.#addFolder(folder)
      return
    }
    if (this.#isKnown(path)) return
    this.folders.push(posix.dirname(path))
    if (await this.#addForeignFile(path, input)) return
    this.#addInput(path, input, this.#hasMain)
    await this.#addFragments(posix.dirname(path))
  }

  /** The first one is written by the owner of the node, the following ones by others. */
  get #hasMain(): boolean {
    return this.raw.length > 0 || !this.#report.isEmpty
  }

  #isKnown(path: string): boolean {
    return this.raw.some((known) => known.path === path)
  }

  #read(path: string, maxBytes = CONFIG_MAX_BYTES): Promise<InputFile> {
    return readInput(this.#files, path, maxBytes)
  }

  /** What another tool's files say, in the words of trust.yaml. */
  #addDocument(path: string, document: object, reach: string, origins?: RawFile['origins']): void {
    const bytes = Buffer.from(JSON.stringify(document))
    this.#addInput(path, { kind: 'file', bytes }, this.#hasMain, reach, origins)
  }

  async #addForeignFile(path: string, input: InputFile): Promise<boolean> {
    const name = posix.basename(path)
    if (input.kind !== 'file' || name === MAIN_FILE || this.#harmful.has(path)) return false
    this.#onStep(path)
    const text = decodeText(input.bytes)
    if ('reason' in text) return false
    const foreign =
      readK3sRegistries(text.text, name === 'registries.yaml') ??
      (await readContainerdRegistries(text.text, name.endsWith('.toml')))
    if (foreign === undefined) return false
    for (const { subject, text: why, ...place } of foreign.refused) {
      const code = subject === '' ? 'CONFIG_INVALID' : 'CONFIG_NOT_SUPPORTED_YET'
      this.#report.add(code, { file: path, order: this.raw.length, ...place }, subject, why)
    }
    if (foreign.refused.length === 0) this.#addDocument(path, foreign.document, '/', foreign.origins)
    return true
  }

  async #addFolder(folder: string): Promise<void> {
    const path = posix.join(folder, MAIN_FILE)
    if (this.#isKnown(path)) return
    const input = await this.#read(path)
    if (input.kind !== 'absent') {
      this.#addInput(path, input, this.#hasMain)
      await this.#addFragments(folder)
      return
    }
    const foreign = await readForeignFolder(folder, this.#files)
    if (foreign !== undefined) {
      // An entry that is not used does not stop the others.
      for (const { path: entry, text } of foreign.refused) {
        this.fragments.add(entry)
        this.#report.addFile('CONFIG_INVALID', entry, this.raw.length, text)
      }
      this.#addDocument(folder, foreign.document, folder)
    } else await this.#reportNoMainFile(folder, path)
  }

  async #reportNoMainFile(folder: string, path: string): Promise<void> {
    const names = (await listQuietly(this.#files, folder)).filter((name) => !name.startsWith('.'))
    const wrong = names.find((name) => /^trust\.(yml|json|ya?ml\..+)$/i.test(name) || name.toLowerCase() === MAIN_FILE)
    const add = (text: string) => this.#report.addFile('CONFIG_MISSING', path, this.raw.length, text)
    if (wrong !== undefined) add(`the file is not there, but ${wrong} is: rename it`)
    // An optional ConfigMap that is gone shows as an empty folder: that must not take trust off the node.
    else if (names.length === 0) add('the folder is empty')
    else if (names.includes(FRAGMENTS)) add(`the file is not there, only ${FRAGMENTS} beside it`)
  }

  async #addFragments(folder: string): Promise<void> {
    const fragments = posix.join(folder, FRAGMENTS)
    const names = (await this.#listFragments(fragments)).filter((name) => !name.startsWith('.')).toSorted()
    const wanted = names.filter((name) => name.endsWith('.yaml'))
    for (const name of names.filter((other) => !other.endsWith('.yaml') && /\.(ya?ml|json)$/i.test(other))) {
      this.fragments.add(posix.join(fragments, name))
      this.#report.addFile('CONFIG_INVALID', posix.join(fragments, name), this.raw.length, 'the name must end in .yaml')
    }
    if (wanted.length > MAX_FRAGMENTS) {
      const text = `the folder holds ${wanted.length} files, more than the ${MAX_FRAGMENTS} allowed`
      this.#report.addFile('CONFIG_TOO_LARGE', fragments, this.raw.length, text)
      return
    }
    const paths = wanted.map((name) => posix.join(fragments, name)).filter((path) => !this.#isKnown(path))
    const tooMuch = await this.#beyondTotal(paths)
    for (const path of paths) {
      if (!tooMuch.has(path)) this.#addInput(path, await this.#read(path), true)
      else {
        this.fragments.add(path)
        const text = `with the smaller fragments this is more than ${FRAGMENTS_MAX_BYTES} bytes`
        this.#report.addFile('CONFIG_TOO_LARGE', path, this.raw.length, text)
      }
    }
  }

  /** The largest ones are left out first: a small fragment is not held up by somebody else's large one. */
  async #beyondTotal(paths: readonly string[]): Promise<ReadonlySet<string>> {
    const sizes = await Promise.all(
      paths.map(async (path) => {
        const input = await this.#read(path, 0)
        return { path, bytes: input.kind === 'too-large' ? input.bytes : 0 }
      }),
    )
    let total = 0
    const beyond = new Set<string>()
    for (const { path, bytes } of sizes.toSorted((left, right) => left.bytes - right.bytes)) {
      total += bytes
      if (total > FRAGMENTS_MAX_BYTES) beyond.add(path)
    }
    return beyond
  }

  /** A folder that cannot be listed is an error: taken for empty, it would take its registries off the node. */
  async #listFragments(folder: string): Promise<readonly string[]> {
    const { kind } = await this.#read(folder, 0)
    if (kind === 'file' || kind === 'too-large') {
      this.#report.addFile('CONFIG_INVALID', folder, this.raw.length, 'this is a file where a folder is expected')
      return []
    }
    try {
      return await this.#files.list(folder)
    } catch (error) {
      const text = `the folder cannot be read: ${asAgentError(error).message}`
      this.#report.addFile('CONFIG_UNREADABLE', folder, this.raw.length, text)
      return []
    }
  }

  #addInput(path: string, input: InputFile, isFragment: boolean, reach?: string, origins?: RawFile['origins']): void {
    const order = this.raw.length
    if (isFragment) this.fragments.add(path)
    const harm = this.#harmful.get(path)
    if (harm !== undefined) {
      this.#report.addFile('CONFIG_TOO_LARGE', path, order, `the file is not used: ${harm}`)
      return
    }
    switch (input.kind) {
      case 'file':
        this.raw.push({
          path,
          order,
          isFragment,
          bytes: input.bytes,
          ...(reach === undefined ? {} : { reach }),
          ...(origins === undefined ? {} : { origins }),
        })
        return
      case 'absent':
        this.#report.addFile('CONFIG_MISSING', path, order, 'there is no such file')
        return
      case 'folder':
        this.#report.addFile('CONFIG_INVALID', path, order, 'this is a folder where a file is expected')
        return
      case 'too-large': {
        const text = `the file has ${input.bytes} bytes, more than the ${CONFIG_MAX_BYTES} allowed`
        this.#report.addFile('CONFIG_TOO_LARGE', path, order, text)
        return
      }
      case 'unreadable':
        this.#report.addFile('CONFIG_UNREADABLE', path, order, `the file cannot be read: ${input.reason}`)
    }
  }
}
