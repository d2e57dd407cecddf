// Image references (github.com/distribution/reference), as far as a proof image needs them: HOST/PATH[:TAG][@DIGEST].

const PATH = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/
const DIGEST = /^sha(?:256:[0-9a-f]{64}|512:[0-9a-f]{128})$/
/** distribution/reference NameTotalLengthMax. */
const MAX_NAME = 255

/** Why `image` cannot serve as proof for `host`; `undefined`: it can. The text reads on after the key path. */
export function checkProofImage(image: string, host: string): string | undefined {
  const found = `found ${JSON.stringify(image.length > 200 ? `${image.slice(0, 200)}…` : image)}`
  if (!image.startsWith(`${host}/`)) {
    return `must be an image on the registry itself, such as ${host}/library/pause:3.10, ${found}`
  }
  const [named = '', digest, ...rest] = image.slice(host.length + 1).split('@')
  const colon = named.indexOf(':')
  const path = colon === -1 ? named : named.slice(0, colon)
  const tag = colon === -1 ? undefined : named.slice(colon + 1)
  if (path !== path.toLowerCase()) return `must be in lower case up to the tag, ${found}`
  const isValid =
    rest.length === 0 &&
    host.length + 1 + path.length <= MAX_NAME &&
    PATH.test(path) &&
    (tag === undefined || TAG.test(tag)) &&
    (digest === undefined || DIGEST.test(digest))
  return isValid ? undefined : `must be an image reference such as ${host}/library/pause:3.10, ${found}`
}
