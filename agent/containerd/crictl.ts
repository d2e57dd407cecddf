// /etc/crictl.yaml: which socket it names, and how the right one gets into it and out again. A flat file of `key:
// value` lines, so it is read line by line. Lines of ours carry a mark; a line that they replace stays as a comment, so
// that taking ours out gives its bytes back.
const MARK = '# registry-trust-agent'
const REPLACED = '# replaced by registry-trust-agent: '

export const CRICTL_FILE = '/etc/crictl.yaml'
export const CRICTL_KEYS = ['runtime-endpoint', 'image-endpoint'] as const
export type CrictlKey = (typeof CRICTL_KEYS)[number]

/** What a key names: a path for a unix socket, other addresses as they stand; undefined where it names nothing. */
export function crictlEndpointOf(text: string, key: CrictlKey): string | undefined {
  const lines = text.split('\n').filter((line) => line.startsWith(`${key}:`))
  const match = /^[a-z-]+:[ \t]*(?:"([^"]*)"|'([^']*)'|([^\s#"']\S*))[ \t]*(?:#.*)?\r?$/.exec(lines[0] ?? '')
  const value = match?.[1] ?? match?.[2] ?? match?.[3] ?? ''
  return value === '' ? undefined : value.replace(/^unix:(?:\/\/)?(?=\/)/, '')
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
  if (odd >= 0) return { ok: false, reason: `line ${odd + 1} is no plain \`key: value\`` }
  const end = text.includes('\r\n') ? '\r' : ''
  for (const key of CRICTL_KEYS) {
    const found = lines.flatMap((line, index) => (line.startsWith(`${key}:`) ? [index] : []))
    if (found.length > 1) return { ok: false, reason: `${key} stands there ${found.length} times` }
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
