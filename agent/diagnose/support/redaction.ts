// What leaves the node in a support bundle holds no secrets. The rule: a file is never copied; it is parsed, and what
// stands below a name of a secret is taken out. What cannot be parsed is left out, since its content is not known.
// This room: what a support bundle says, part by part, without secrets.
// Begin here; then config-part.ts and node-part.ts (of a node), fleet-part.ts (of the cluster).
// May touch: the files of the node through the port; what is read is given, never kept.
import { isSecretName, REDACTED, redactText } from '../../model/secret.ts'

const MAX_DEPTH = 40
/** Shorter ones would be found in words that are none of them. */
const SHORTEST = 8
const HEADERS = /^headers?$/i
/** Where a secret is, not what it is. */
const FILE = /file$/i

/** Remembers every secret that it took out, and takes it out of all other texts too. */
export class Redaction {
  readonly #secrets = new Set<string>()

  /** Plain JSON values. Below a name of a secret, and in a table of HTTP headers, every text is taken out. */
  tree(value: unknown): unknown {
    return this.#copy(value, { isHidden: false, isSecret: false, depth: 0 })
  }

  /** Without what is recognisably a secret, and without every secret that was found in a tree before. */
  text(text: string): string {
    let clean = redactText(text)
    for (const secret of this.#secrets) clean = clean.replaceAll(secret, REDACTED)
    return clean
  }

  /** As `text`, of every text in a value that `tree` has given. */
  texts(value: unknown): unknown {
    if (typeof value === 'string') return this.text(value)
    if (Array.isArray(value)) return value.map((item) => this.texts(item))
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [this.text(name), this.texts(item)]))
  }

  #copy(value: unknown, place: Place): unknown {
    const { isHidden, depth } = place
    if (depth > MAX_DEPTH) return '[deeper]'
    if (typeof value === 'string') return isHidden ? this.#hide(value, place) : value
    if (typeof value === 'bigint' || typeof value === 'number') return isHidden ? REDACTED : Number(value)
    if (value instanceof Date) return isHidden || Number.isNaN(value.getTime()) ? null : value.toISOString()
    if (Array.isArray(value)) return value.map((item, index) => this.#copy(item, this.#inList(value, index, place)))
    if (typeof value !== 'object' || value === null) return value
    const { name: ofPair } = value as { readonly name?: unknown }
    const isPair = typeof ofPair === 'string' && isSecretName(ofPair)
    return Object.fromEntries(
      Object.entries(value).map(([name, item]) => {
        const isSecret = isSecretName(name) || place.isHeaders === true || (isPair && name === 'value')
        const inside = { isHidden: isHidden || isSecret, isSecret: isSecret && !FILE.test(name), depth: depth + 1 }
        return [name, this.#copy(item, { ...inside, isHeaders: HEADERS.test(name) })]
      }),
    )
  }

  /** An argument after `--password`, and the value of `{name: REGISTRY_PASSWORD, value: …}`, are secrets by their neighbour. */
  #inList(list: readonly unknown[], index: number, place: Place): Place {
    const before = list[index - 1]
    const isArgument =
      typeof before === 'string' && /^--?[a-z]/i.test(before) && isSecretName(before.replace(/^-+/, ''))
    return { ...place, depth: place.depth + 1, ...(isArgument && { isHidden: true, isSecret: true }) }
  }

  #hide(value: string, { isSecret }: Place): string {
    if (isSecret && value.length >= SHORTEST) this.#secrets.add(value)
    return value === '' ? '' : REDACTED
  }
}

type Place = {
  readonly isHidden: boolean
  /** Its own name says so: a host of the name token.example.net hides what is below it, which may be anything. */
  readonly isSecret: boolean
  readonly isHeaders?: boolean
  readonly depth: number
}
