// What is mounted where, as this process sees it (port Mounts). The rule: what cannot be read is "nothing is known",
// never an error. Format of a line: proc(5), /proc/PID/mountinfo; a source that was deleted since ends in `//deleted`.
import { readFileSync } from 'node:fs'
import type { MountPoint, Mounts } from '../../model/ports.ts'

const DELETED = /\/\/deleted$/

export function mounts({ path = '/proc/self/mountinfo' }: { readonly path?: string } = {}): Mounts {
  return () => {
    try {
      return readFileSync(path, 'utf8')
        .split('\n')
        .flatMap((line) => parseLine(line) ?? [])
    } catch {
      // Not Linux, or /proc is hidden.
      return []
    }
  }
}

function parseLine(line: string): MountPoint | undefined {
  const [, , , source, path, options = ''] = line.split(' ')
  if (source === undefined || path === undefined) return undefined
  // Of the mount, and of the file system below it.
  const isReadOnly = [options, line.split(' ').at(-1) ?? ''].some((words) => words.split(',').includes('ro'))
  return { path: unescaped(path), isSourceDeleted: DELETED.test(source), isReadOnly }
}

/** Space, tab, newline and backslash are written as three octal digits. */
function unescaped(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)))
}
