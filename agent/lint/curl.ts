// curl's command line, as far as it tells whether -k is a flag or the value of another option. Pure.

/** Short options that take a value (curl(1)): what follows in the same word, or the next word, is not an option. */
const WITH_VALUE = 'AbcCdDeEFhHKmoPQrtTuUwxXyYz'
const LONG_WITH_VALUE =
  /^--(?:key|cert|cacert|capath|cert-type|key-type|pass|data(?:-\w+)?|header|output|request|user|user-agent|url|proxy(?!-insecure$)[\w-]*|form|config|max-time|connect-timeout|retry(?:-\w+)?|resolve|referer|write-out|upload-file|range|cookie(?:-jar)?|interface|limit-rate|noproxy|dump-header)$/

/** The words that switch verification off in a line with a call of curl; undefined: none. */
export function insecureCurl(line: string): string | undefined {
  for (const [, rest = ''] of line.matchAll(/(?<![\w./-])(?:\/[\w./-]*\/)?curl(?![\w.-])([^|;&]*)/g)) {
    const words = rest.trim().split(/\s+/)
    for (let index = 0; index < words.length; index += 1) {
      const word = words[index] ?? ''
      if (word === '--insecure' || word === '--proxy-insecure') return word
      if (LONG_WITH_VALUE.test(word)) index += 1
      else if (/^-[A-Za-z0-9#]/.test(word)) {
        const letters = word.slice(1)
        const valueAt = [...letters].findIndex((letter) => WITH_VALUE.includes(letter))
        if (letters.slice(0, valueAt < 0 ? undefined : valueAt).includes('k')) return word
        if (valueAt === letters.length - 1) index += 1
      }
    }
  }
  return undefined
}
