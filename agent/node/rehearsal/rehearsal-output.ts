// Reads what a private copy of containerd wrote before it ended: a refusal of its configuration, or trouble of the
// place where it ran.

/** Trouble that the live daemon, with the node's rights, folders and libraries, would not have. */
const OWN_TROUBLE =
  /error while loading shared libraries|version `\S+' not found|no space left on device|disk quota exceeded|read-only file system|permission denied|operation not permitted|out of memory|cannot allocate memory|resource temporarily unavailable|too many open files|address already in use|unable to find (?:user|group)|setpriv: /i

/** In containerd's own words, without its name in front; `undefined` when it said nothing of the kind. */
export function refusalOf(output: string): string | undefined {
  const lines = output.split('\n').map((line) => line.trim())
  const last = lines.findLast((line) => line.startsWith('containerd: '))
  if (last !== undefined) return last.slice('containerd: '.length)
  const logged = lines.findLast((line) => /\blevel=(?:fatal|error)\b/.test(line) || /failed to load plugin/.test(line))
  return logged === undefined ? undefined : messageOf(logged)
}

export function isOwnTrouble(output: string): boolean {
  const lines = output.split('\n')
  // Warnings on the way (a snapshotter that this kernel lacks) are normal: only what it ended with counts.
  const last = lines.findLast((line) => line.trim() !== '') ?? ''
  return OWN_TROUBLE.test(refusalOf(output) ?? last)
}

/** `time="…" level=warning msg="…" error="…"` → `msg: error`. */
function messageOf(line: string): string {
  const value = (key: string) => {
    const quoted = new RegExp(`\\b${key}=("(?:[^"\\\\]|\\\\.)*")`).exec(line)?.[1]
    return quoted === undefined ? undefined : unquote(quoted)
  }
  const parts = [value('msg'), value('error')].filter((part) => part !== undefined)
  return parts.length === 0 ? line : parts.join(': ')
}

function unquote(quoted: string): string {
  try {
    return String(JSON.parse(quoted))
  } catch {
    return quoted
  }
}
