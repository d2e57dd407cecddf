// Reads the configuration so that no file of it can hurt the process that guards the node: small files are decoded at
// once, everything else in a thread with bounds on memory and time (main-reader.ts). What ends the thread is named,
// left out, and the rest is read again. Nothing is decoded twice while no file has changed.
import { createHash } from 'node:crypto'
import type { DesiredState, Registry } from '../model/desired-state.ts'
import { problem } from '../model/errors.ts'
import type { Clock, FragmentStore, InputFile, InputFiles, ReadingThread } from '../model/ports.ts'
import { Secret } from '../model/secret.ts'
import { ANCHOR_MAX_BYTES, type Decoded, decodeCertificates } from '../pki/decode/decode.ts'
import type { LastGood } from './fragments.ts'
import { type LoadConfig, type LoadResult, loadDesiredState } from './load.ts'
import { readInput } from './reading/input-lookup.ts'

export type ReadingJob = {
  readonly paths: readonly string[]
  /** Milliseconds since the epoch. */
  readonly now: number
  readonly harmful: ReadonlyMap<string, string>
  /** What took long to decode the last time. */
  readonly decoded: ReadonlyMap<string, Decoded>
  readonly lastGood: LastGood
}

/** What the thread tells while it works. */
export type ReadingNote = { readonly step: string } | { readonly key: string; readonly decoded: Decoded }

export type ReadingAnswer = {
  readonly result: LoadResult
  /** Every look at a file or folder, and what was there. */
  readonly looked: ReadonlyMap<string, string>
  /** Keys of `decoded` that this configuration needs. */
  readonly used: readonly string[]
  /** Not everything was decoded for want of time; the next look goes on. */
  readonly isPartial: boolean
}

export type GuardedLoadOptions = {
  readonly paths: readonly string[]
  readonly files: InputFiles
  readonly clock: Pick<Clock, 'now' | 'monotonic'>
  readonly thread: ReadingThread
  /** What the fragments were before this process began. */
  readonly fragments?: Pick<FragmentStore, 'load'>
}

/** Bytes that are decoded without a thread: a tenth of a second of work, a few MB of memory. */
const SMALL_FILE = 16 * 1024
const SMALL_LOAD = 32 * 1024
/** Each costs the thread's patience; the next look goes on from there. */
const MOST_HARMFUL_AT_ONCE = 5
/** A machine that was too busy may do better later. */
const HARM_FORGOTTEN_MS = 600_000
/** Certificates begin and end to be valid without a change of any file. */
const JUDGED_AGAIN_MS = 3_600_000

/** `at`: monotonic. */
type Harm = { readonly reason: string; readonly content: string; readonly at: number }
/** `from` and `until`: wall times, between which no certificate begins or ends. */
type Last = {
  readonly result: LoadResult
  readonly looked: ReadonlyMap<string, string>
  /** By the keys of `looked`: files that are known again without being read. */
  readonly identities: Map<string, string>
  readonly from: number
  readonly until: number
}

/** A function that loads the desired state; calls wait for each other. */
export function guardedLoad(options: GuardedLoadOptions): LoadConfig {
  const loader = new GuardedLoader(options)
  let queue: Promise<unknown> = Promise.resolve()
  return ({ isAnew = false } = {}) => {
    const loading = queue.then(() => loader.load(isAnew))
    queue = loading.catch(() => undefined)
    return loading
  }
}

class GuardedLoader {
  readonly #options: GuardedLoadOptions
  readonly #decoded = new Map<string, Decoded>()
  readonly #harmful = new Map<string, Harm>()
  #lastGood: LastGood | undefined
  #last: Last | undefined

  constructor(options: GuardedLoadOptions) {
    this.#options = options
  }

  async load(isAnew: boolean): Promise<LoadResult> {
    const { clock, files } = this.#options
    const last = this.#last
    if (isAnew) last?.identities.clear()
    if (last !== undefined && isJudged(last, clock.now()) && (await isAsBefore(last, files))) return last.result
    this.#last = undefined
    this.#lastGood ??= (await this.#options.fragments?.load()) ?? new Map()
    const result = (await this.#loadSmall()) ?? (await this.#loadApart())
    if (result.ok) this.#lastGood = result.lastGood
    return result
  }

  /** Undefined where something is not small. */
  async #loadSmall(): Promise<LoadResult | undefined> {
    const { paths, files, clock } = this.#options
    const looked = new Map<string, string>()
    const now = clock.now()
    let [isSmall, total] = [true, 0]
    const small: InputFiles = {
      ...files,
      async read(path, options) {
        const input = await files.read(path, options)
        const bytes = input.kind === 'file' ? input.bytes.length : 0
        total += bytes
        if (bytes > SMALL_FILE || total > SMALL_LOAD) isSmall = false
        return isSmall ? input : { kind: 'absent' }
      },
    }
    const result = await loadDesiredState({
      paths,
      files: recordingFiles(small, looked),
      now,
      ...(this.#lastGood === undefined ? {} : { lastGood: this.#lastGood }),
      decode(bytes, options) {
        // Other forms may be a PKCS#12 store, in which a few bytes set how long its keys take to compute.
        if (!bytes.includes('-----BEGIN')) isSmall = false
        return isSmall ? decodeCertificates(bytes, options) : NOTHING
      },
    })
    return isSmall ? this.#remember(result, looked, now) : undefined
  }

  /** `now`: milliseconds since the epoch, by which certificates were judged. */
  #remember(result: LoadResult, looked: ReadonlyMap<string, string>, now: number): LoadResult {
    this.#last = { result, looked, identities: new Map(), from: now, until: validUntil(result, now) }
    return result
  }

  async #loadApart(): Promise<LoadResult> {
    const { paths, thread, clock } = this.#options
    await this.#forgetHarm()
    for (let attempt = 0; ; attempt += 1) {
      let step = ''
      const now = clock.now()
      const harmful = new Map([...this.#harmful].map(([path, { reason }]) => [path, reason]))
      const job: ReadingJob = { paths, now, harmful, decoded: this.#decoded, lastGood: this.#lastGood ?? new Map() }
      const end = await thread(job, (note) => {
        const told = note as ReadingNote
        if ('step' in told) step = told.step
        else this.#decoded.set(told.key, told.decoded)
      })
      if (end.ok) return this.#keep(end.value as ReadingAnswer, now)
      if (step !== '' && !this.#harmful.has(step)) {
        const content = await contentOf(step, this.#options.files)
        this.#harmful.set(step, { reason: end.reason, content, at: clock.monotonic() })
        if (attempt < MOST_HARMFUL_AT_ONCE) continue
      }
      const text = `${step === '' ? paths.join(', ') : step}: ${end.reason}`
      return { ok: false, problems: [problem('CONFIG_TOO_LARGE', text)] }
    }
  }

  #keep(answer: ReadingAnswer, now: number): LoadResult {
    const result = unpackResult(answer.result)
    const used = new Set(answer.used)
    for (const key of this.#decoded.keys()) if (!used.has(key)) this.#decoded.delete(key)
    return answer.isPartial ? result : this.#remember(result, answer.looked, now)
  }

  /** What did harm gets another chance when it is another file, or after a while. */
  async #forgetHarm(): Promise<void> {
    const { files, clock } = this.#options
    for (const [path, { content, at }] of this.#harmful) {
      const isOld = clock.monotonic() - at >= HARM_FORGOTTEN_MS
      if (isOld || (await contentOf(path, files)) !== content) this.#harmful.delete(path)
    }
  }
}

const NOTHING: Decoded = { certificates: [], problems: [], encoding: [], repeated: [] }

/** Certificates are judged by wall time: outside of the stretch that was judged, also before it, they are judged anew. */
function isJudged({ from, until }: Last, now: number): boolean {
  return from <= now && now < until
}

function validUntil(result: LoadResult, now: number): number {
  const anchors = result.ok ? result.desired.anchors : []
  const ends = anchors.flatMap(({ certificates }) => certificates.map(({ notAfter }) => Date.parse(notAfter)))
  return Math.min(now + JUDGED_AGAIN_MS, ...ends.filter((end) => end > now))
}

/** Keeps a record of every look; used where the answer will be asked for again. */
export function recordingFiles(files: InputFiles, looked: Map<string, string>): InputFiles {
  return {
    ...files,
    async read(path, options) {
      const input = await files.read(path, options)
      looked.set(readKey(path, options.maxBytes), fingerprint(input))
      return input
    },
    async list(folder) {
      const names = await files.list(folder)
      looked.set(listKey(folder), names.join('/'))
      return names
    },
  }
}

async function isAsBefore({ looked, identities }: Last, files: InputFiles): Promise<boolean> {
  for (const [key, before] of looked) {
    const [kind = '', maxBytes = '', ...rest] = key.split(' ')
    const path = rest.join(' ')
    if (kind === 'list') {
      const names = await files.list(path).catch(() => undefined)
      if (names?.join('/') !== before) return false
      continue
    }
    const identity = await files.identity?.(path)
    if (identity !== undefined && identity === identities.get(key)) continue
    if (fingerprint(await readInput(files, path, Number(maxBytes))) !== before) return false
    // One that was changed while it was read is read again the next time.
    if (identity !== undefined && identity === (await files.identity?.(path))) identities.set(key, identity)
  }
  return true
}

function readKey(path: string, maxBytes: number): string {
  return `read ${maxBytes} ${path}`
}

function listKey(folder: string): string {
  return `list 0 ${folder}`
}

function fingerprint(input: InputFile): string {
  switch (input.kind) {
    case 'file':
      return createHash('sha256').update(input.bytes).digest('base64')
    case 'too-large':
      return `too-large ${input.bytes}`
    case 'unreadable':
      return `unreadable ${input.reason}`
    default:
      return input.kind
  }
}

async function contentOf(path: string, files: InputFiles): Promise<string> {
  return fingerprint(await readInput(files, path, ANCHOR_MAX_BYTES))
}

/** For the way from one thread to another, which carries plain values alone. */
export function packResult(result: LoadResult): LoadResult {
  return withKeys(result, (key) => key.reveal() as unknown as Secret)
}

function unpackResult(result: LoadResult): LoadResult {
  return withKeys(result, (key) => new Secret(key as unknown as string))
}

function withKeys(result: LoadResult, change: (key: Secret) => Secret): LoadResult {
  if (!result.ok) return result
  const changed = (registry: Registry): Registry => {
    const { clientCertificate: own } = registry
    return own === undefined ? registry : { ...registry, clientCertificate: { ...own, key: change(own.key) } }
  }
  const { registries, wildcard, ...rest } = result.desired
  const desired: DesiredState = {
    ...rest,
    registries: registries.map(changed),
    ...(wildcard === undefined ? {} : { wildcard: changed(wildcard) }),
  }
  return { ...result, desired }
}
