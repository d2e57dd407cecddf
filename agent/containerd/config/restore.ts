// Takes the agent's one key out of config.toml again: byte for byte as before where nobody touched the file since, and
// by a surgical edit that keeps later edits of others where somebody did.
import { asAgentError, type Problem, problem } from '../../model/errors.ts'
import { giveBack } from '../../text/toml-give-back.ts'
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
  /** What the agent set the sandbox image to. */
  readonly sandboxImage?: string
}

export async function restoreConfig({
  path,
  current,
  before,
  isAsWritten,
  directory,
  sandboxImage,
}: RestoreRequest): Promise<ConfigRestoration> {
  if (isAsWritten) return { kind: 'original', bytes: before }
  try {
    const config = readContainerdConfig(current, { path })
    if (config.configPath !== directory || !isSchemaVersion(config.effectiveVersion)) return { kind: 'unchanged' }
    const schema = CONFIG_SCHEMAS[config.effectiveVersion]
    const was = before === undefined ? undefined : readContainerdConfig(before, { path }).text
    const back = async (text: string, key: readonly string[]) => await giveBack(text, key, was, path)
    const text = await back(config.text, [...schema.registry, 'config_path'])
    const isSandboxOurs = sandboxImage !== undefined && config.sandboxImage === sandboxImage
    return { kind: 'edited', bytes: Buffer.from(isSandboxOurs ? await back(text, schema.sandboxImage) : text) }
  } catch (thrown) {
    const error = asAgentError(thrown)
    return {
      kind: 'kept',
      problem: problem('CONFIG_EDIT_UNSUPPORTED', `${path}: config_path was not taken back: ${error.message}`),
    }
  }
}
