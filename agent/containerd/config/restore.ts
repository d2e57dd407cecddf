// Takes the agent's one key out of config.toml again: byte for byte as before where nobody touched the file since, and
// by a surgical edit that keeps later edits of others where somebody did.
import { asAgentError, type Problem, problem } from '../../model/errors.ts'
import { itemAt } from '../../text/toml.ts'
import { removeKey, setKey } from '../../text/toml-edit.ts'
import { readContainerdConfig } from './read.ts'
import { CONFIG_SCHEMAS, isSchemaVersion } from './schema-version.ts'

export type ConfigRestoration =
  | { readonly kind: 'unchanged' }
  /** `bytes` undefined: there was no file. */
  | { readonly kind: 'original'; readonly bytes: Buffer | undefined }
  | { readonly kind: 'edited'; readonly bytes: Buffer }
  | { readonly kind: 'kept'; readonly problem: Problem }

export type RestoreRequest = {
  readonly path: string
  readonly current: Buffer
  /** What the agent found when it first touched the file; undefined: nothing. */
  readonly before: Buffer | undefined
  /** The file is exactly as the agent left it. */
  readonly isAsWritten: boolean
  /** What the agent set config_path to. */
  readonly directory: string
}

export async function restoreConfig({
  path,
  current,
  before,
  isAsWritten,
  directory,
}: RestoreRequest): Promise<ConfigRestoration> {
  if (isAsWritten) return { kind: 'original', bytes: before }
  try {
    const config = readContainerdConfig(current, { path })
    if (config.configPath !== directory || !isSchemaVersion(config.effectiveVersion)) return { kind: 'unchanged' }
    const key = [...CONFIG_SCHEMAS[config.effectiveVersion].registry, 'config_path']
    const original = before === undefined ? undefined : itemAt(readContainerdConfig(before, { path }).parsed, key)
    const text =
      typeof original === 'string'
        ? await setKey(config.text, key, original, { path })
        : await removeKey(config.text, key, { path })
    return { kind: 'edited', bytes: Buffer.from(text) }
  } catch (thrown) {
    const error = asAgentError(thrown)
    return {
      kind: 'kept',
      problem: problem('CONFIG_EDIT_UNSUPPORTED', `${path}: config_path was not taken back: ${error.message}`),
    }
  }
}
