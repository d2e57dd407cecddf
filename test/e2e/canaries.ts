// Marked secrets: one for each field, and what each would look like where somebody has printed, quoted or encoded it.
import { randomBytes } from 'node:crypto'

export class Canaries {
  readonly #values = new Map<string, string>()

  /** The secret of this field; letters and digits, so that no quoting and no URL changes it. */
  of(field: string): string {
    const known = this.#values.get(field)
    if (known !== undefined) return known
    const value = `Canary${randomBytes(12).toString('hex')}`
    this.#values.set(field, value)
    return value
  }

  /** A secret that is not ours to choose, such as a private key: each whole line of it counts. */
  add(field: string, text: string): void {
    const lines = text.split('\n').filter((line) => line.length >= 40 && !line.startsWith('-----'))
    if (lines.length === 0) throw new Error(`nothing of ${field} can be looked for`)
    for (const [index, line] of lines.entries()) this.#values.set(`${field}, line ${index + 1}`, line)
  }

  get size(): number {
    return this.#values.size
  }

  /** The fields whose secret shows in the text. */
  foundIn(text: string): readonly string[] {
    return [...this.#values]
      .filter(([, value]) => needles(value).some((needle) => text.includes(needle)))
      .map(([name]) => name)
  }

  /** One in each line, for `grep --fixed-strings --file`. */
  patterns(): string {
    return `${[...this.#values.values()].flatMap(needles).join('\n')}\n`
  }
}

/** Plain, in hexadecimal, and as any base64 of something that holds it: `user:password` shifts it by up to two bytes. */
function needles(value: string): readonly string[] {
  const encoded = [0, 1, 2].map((shift) => {
    const bits = 8 * (shift + value.length)
    const text = Buffer.from('x'.repeat(shift) + value).toString('base64')
    return text.slice(Math.ceil((8 * shift) / 6), Math.floor(bits / 6))
  })
  const twice = encoded.map((text) => Buffer.from(text).toString('base64').replace(/=+$/, '').slice(0, -2))
  return [value, Buffer.from(value).toString('hex'), ...encoded, ...twice]
}
