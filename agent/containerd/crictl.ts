// /etc/crictl.yaml: which socket it names, and how the right one gets into it and out again. It is edited only as a flat
// file of `key: value` lines, and read in the other forms that crictl reads too. Lines of ours carry a mark; a line that they replace stays as a comment, so
// that taking ours out gives its bytes back.
const MARK = '# registry-trust-agent'
const REPLACED = '# replaced by registry-trust-agent: '

export const CRICTL_FILE = '/etc/crictl.yaml'
/** Where /etc has none, crictl reads the one beside its own program. */
export const CRICTL_FILES = [CRICTL_FILE, '/usr/local/bin/crictl.yaml', '/usr/bin/crictl.yaml'] as const
export const CRICTL_KEYS = ['runtime-endpoint', 'image-endpoint'] as const
export type CrictlKey = (typeof CRICTL_KEYS)[number]

/**
 * What a key names, as crictl reads it (YAML: quoted or indented keys, one map in braces): a path for a unix socket,
 * other addresses as they stand; undefined where it names nothing.
 */
export function crictlEndpointOf(text: string, key: CrictlKey): string | undefined {
  const content = text.split(/\r?\n/).filter((line) => !/^\s*(#|$)|^---\s*$/.test(line))
  const indent = /^ */.exec(content[0] ?? '')?.[0] ?? ''
  const isFlow = content[0]?.trimStart().startsWith('{') === true
  // A key that is indented further belongs to another one.
  const before = isFlow ? '[{,]\\s*' : `^${indent}`
  const value = `(?:"([^"]*)"|'([^']*)'|([^\\s#"'][^\\s${isFlow ? ',}' : ''}]*))`
  const match = new RegExp(`${before}(["']?)${key}\\1\\s*:[ \\t]*${value}`, 'm').exec(content.join('\n'))
  const found = match?.[2] ?? match?.[3] ?? match?.[4] ?? ''
  return found === '' ? undefined : found.replace(/^unix:(?:\/\/)?(?=\/)/, '')
}

/** /var/run is a link to /run nearly everywhere. */
export function isSameSocket(one: string, other: string): boolean {
  const plain = (path: string) => path.replace(/^\/var\/run\//, '/run/')
  return plain(one) === plain(other)
}

export type CrictlEdit =
  | { readonly ok: true; readonly text: string }
  /** Reads on after the name of the file. */
  | { readonly ok: false; readonly reason: string }

/** The text with both keys naming the socket; a key that does so already keeps its line. */
export function nameSocket(text: string, socket: string): CrictlEdit {
  const lines = text.split('\n')
  const odd = lines.findIndex((line) => !/^(?:---)?\s*$|^\s*#|^[A-Za-z][A-Za-z0-9-]*:(?:\s|$)/.test(line))
  if (odd >= 0) return { ok: false, reason: `line ${odd + 1} is not a plain \`key: value\`` }
  const end = text.includes('\r\n') ? '\r' : ''
  for (const key of CRICTL_KEYS) {
    const found = lines.flatMap((line, index) => (line.startsWith(`${key}:`) ? [index] : []))
    if (found.length > 1) return { ok: false, reason: `${key} appears ${found.length} times` }
    const named = crictlEndpointOf(text, key)
    if (named !== undefined && isSameSocket(named, socket)) continue
    const ours = `${key}: unix://${socket} ${MARK}${end}`
    const [at] = found
    const old = at === undefined ? undefined : lines[at]
    if (at === undefined || old === undefined)
      lines.splice(lines.at(-1) === '' ? lines.length - 1 : lines.length, 0, ours)
    else lines.splice(at, 1, ...(isMarked(old) ? [] : [`${REPLACED}${old}`]), ours)
  }
  return { ok: true, text: lines.join('\n') }
}

/** The text without our lines, and with those they replaced. A line that someone has made theirs since stays. */
export function withoutSocket(text: string): string {
  const lines = text.split('\n')
  return lines
    .flatMap((line, index) => {
      if (isMarked(line)) return []
      const replaced = line.startsWith(REPLACED) ? line.slice(REPLACED.length) : undefined
      const key = replaced?.split(':')[0] ?? ''
      const next = lines[index + 1] ?? ''
      return replaced !== undefined && isMarked(next) && next.startsWith(`${key}:`) ? [replaced] : [line]
    })
    .join('\n')
}

function isMarked(line: string): boolean {
  return CRICTL_KEYS.some((key) => line.startsWith(`${key}:`)) && line.trimEnd().endsWith(MARK)
}
