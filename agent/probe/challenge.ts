// WWW-Authenticate as containerd reads it: a Bearer challenge counts before a Basic one, wherever it stands (RFC 9110,
// section 11.6.1). Pure.

export type BearerChallenge = { readonly realm: URL; readonly service: string | undefined }

const MOST_CHARACTERS = 4_000

/** The token service of the header, all its challenges joined by commas; undefined: it names none. */
export function bearerChallenge(header: string): BearerChallenge | undefined {
  if (header.length > MOST_CHARACTERS) return undefined
  // Commas and words inside quotes are not boundaries.
  const masked = header.replace(/"(?:[^"\\]|\\.)*"/g, (quoted) => `"${'.'.repeat(quoted.length - 2)}"`)
  for (const { index, 0: scheme } of masked.matchAll(/(?<=^\s*|,\s*)bearer(?=\s)/gi)) {
    const after = masked.slice(index + scheme.length)
    const next = /,\s*[A-Za-z][\w-]*(?=\s+[\w-]+\s*=|\s*,|\s*$)/.exec(after)?.index ?? after.length
    const parameters = header.slice(index + scheme.length, index + scheme.length + next)
    const value = (name: string) => new RegExp(`[\\s,]${name}\\s*=\\s*(?:"([^"]*)"|([^\\s",]+))`, 'i').exec(parameters)
    const realm = URL.parse(value('realm')?.slice(1).find(Boolean) ?? '')
    if (realm !== null && /^https?:$/.test(realm.protocol))
      return { realm, service: value('service')?.slice(1).find(Boolean) }
  }
  return undefined
}
