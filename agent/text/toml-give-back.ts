// Gives one key of config.toml back: as it stood in the file before the agent, spelling and comment included.
import { isDeepStrictEqual } from 'node:util'
import { itemAt, parseToml } from './toml.ts'
import { lineOf, parseDocument } from './toml-document.ts'
import { removeKey, setKey } from './toml-edit.ts'

/** `before`: the file's text before the agent; undefined: there was none. Throws AgentError for what cannot be edited. */
export async function giveBack(
  text: string,
  key: readonly string[],
  before: string | undefined,
  path: string,
): Promise<string> {
  const source = { path, code: 'CONTAINERD_CONFIG_UNREADABLE' } as const
  const original = before === undefined ? undefined : itemAt(parseToml(before, source), key)
  if (before === undefined || typeof original !== 'string') return await removeKey(text, key, { path })
  const edited = await setKey(text, key, original, { path })
  const [was, now] = [lineOf(await parseDocument(before), key), lineOf(await parseDocument(edited), key)]
  if (was === undefined || now === undefined) return edited
  const spelled = edited
    .split('\n')
    .with(now - 1, before.split('\n')[was - 1] ?? '')
    .join('\n')
  return isSame(spelled, edited, source) ? spelled : edited
}

function isSame(left: string, right: string, source: Parameters<typeof parseToml>[1]): boolean {
  try {
    return isDeepStrictEqual(parseToml(left, source), parseToml(right, source))
  } catch {
    // The line alone is no whole assignment there: then the plain spelling stays.
    return false
  }
}
