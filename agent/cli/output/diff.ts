// `plan --diff`: each text file that would change, as a unified diff. The rule: what may be a secret is taken out of
// both sides first, so that no line of it is ever shown.
import type { Change, FileContent } from '../../model/plan.ts'
import type { FileState } from '../../model/ports.ts'
import { isSecretName, REDACTED, redactText } from '../../model/secret.ts'
import { unifiedDiff } from '../../text/unified-diff.ts'
import { harmless, type Paint } from './terminal.ts'

const MOST_BYTES = 1024 * 1024
const NOTHING = '/dev/null'

export type FileDiff = { readonly path: string; readonly diff: string }

/** One entry for each path that changes, in the order of the plan. `read`: what is at the path now. */
export async function fileDiffs(
  changes: readonly Change[],
  read: (path: string) => Promise<FileState>,
): Promise<readonly FileDiff[]> {
  const diffs: FileDiff[] = []
  for (const { path, after } of changes)
    for (const [file, wanted] of filesOf(path, after))
      diffs.push({ path: file, diff: diffOf(file, await read(file), wanted) })
  return diffs.filter(({ diff }) => diff !== '')
}

function filesOf(path: string, after: Change['after']): readonly (readonly [string, FileContent])[] {
  if (after.kind === 'tree') return after.files.map(({ name, content }) => [`${path}/${name}`, content])
  if (after.kind === 'absent-tree') return after.names.map((name) => [`${path}/${name}`, { kind: 'absent' }])
  return [[path, after]]
}

function diffOf(path: string, before: FileState, after: FileContent): string {
  const [from, to] = [sideOf(before), sideOf(after)]
  if (from === undefined || to === undefined) return ''
  const head = `--- ${from.isThere ? path : NOTHING}\n+++ ${to.isThere ? path : NOTHING}\n`
  const hidden = from.hidden ?? to.hidden
  if (hidden !== undefined) return `${head}(${hidden})\n`
  const diff = unifiedDiff(from.text, to.text)
  if (diff !== '') return head + diff
  return from.isThere === to.isThere && !from.isRedacted && !to.isRedacted
    ? ''
    : `${head}(only what is not shown here differs)\n`
}

type Side = { readonly isThere: boolean; readonly text: string; readonly isRedacted: boolean; readonly hidden?: string }

/** Undefined for what is no file and no link. */
function sideOf(content: FileState | FileContent): Side | undefined {
  if (content.kind === 'absent') return { isThere: false, text: '', isRedacted: false }
  if (content.kind === 'link') return { isThere: true, text: `link to ${content.to}\n`, isRedacted: false }
  if (content.kind !== 'file') return undefined
  const { bytes } = content
  const none = { isThere: true, text: '', isRedacted: true }
  if (bytes.length > MOST_BYTES) return { ...none, hidden: `${bytes.length} bytes are too many to show` }
  const text = bytes.toString('utf8')
  if (text.includes('\0') || !Buffer.from(text).equals(bytes)) return { ...none, hidden: 'this is not text' }
  const shown = withoutSecrets(text)
  return { isThere: true, text: shown, isRedacted: shown !== text }
}

const ASSIGNMENT = /^(\s*["']?([A-Za-z0-9_.-]+)["']?\s*[:=]\s*)\S.*$/
const TOML_TABLE = /^\s*\[/

/**
 * Values of keys that name a secret, every value of a table of HTTP headers, and what looks like a secret by itself.
 */
export function withoutSecrets(text: string): string {
  let isHeader = false
  const lines = redactText(text)
    .split('\n')
    .map((line) => {
      if (TOML_TABLE.test(line)) isHeader = /\.["']?headers?["']?\]\s*(#.*)?$/.test(line)
      const [, before = '', name = ''] = ASSIGNMENT.exec(line) ?? []
      return name !== '' && (isHeader || isSecretName(name)) ? `${before}${REDACTED}` : line
    })
  return lines.join('\n')
}

export function formatDiffs(diffs: readonly FileDiff[], paint: Paint): string {
  return diffs
    .map(({ diff }) =>
      diff
        .split('\n')
        .map((line) => coloured(line, paint))
        .join('\n'),
    )
    .join('\n')
}

function coloured(line: string, paint: Paint): string {
  // Tabs stay: they are the file's own.
  const shown = line.split('\t').map(harmless).join('\t')
  if (line.startsWith('+')) return paint('green', shown)
  if (line.startsWith('-')) return paint('red', shown)
  return line.startsWith('@@') ? paint('dim', shown) : shown
}
