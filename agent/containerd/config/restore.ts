// Takes the agent's one key out of config.toml again: byte for byte as before where nobody touched the file since, and
// by a surgical edit that keeps later edits of others where somebody did.
import { asAgentError, type Problem, problem } from '../../model/errors.ts'
import { stringAt } from '../../text/toml.ts'
import { giveBack } from '../../text/toml-give-back.ts'
import { type ContainerdConfig, readContainerdConfig } from './read.ts'
import { CONFIG_SCHEMAS, isSchemaVersion, type SchemaVersion } from './schema-version.ts'

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
    const then = before === undefined ? undefined : readContainerdConfig(before, { path })
    const schema = ownSchema(config, then, directory)
    if (schema === undefined) return { kind: 'unchanged' }
    const back = async (text: string, key: readonly string[]) => await giveBack(text, key, then?.text, path)
    const text = await back(config.text, [...CONFIG_SCHEMAS[schema].registry, 'config_path'])
    const isSet = (one: SchemaVersion) => stringAt(config.parsed, CONFIG_SCHEMAS[one].sandboxImage) === sandboxImage
    const sandbox = sandboxImage === undefined ? undefined : schemasOf(config).find(isSet)
    const bytes = sandbox === undefined ? text : await back(text, CONFIG_SCHEMAS[sandbox].sandboxImage)
    return { kind: 'edited', bytes: Buffer.from(bytes) }
  } catch (thrown) {
    const error = asAgentError(thrown)
    return {
      kind: 'kept',
      problem: problem('CONFIG_EDIT_UNSUPPORTED', `${path}: config_path was not taken back: ${error.message}`),
    }
  }
}

/** Whose table the agent's config_path stands in: the file's own, or the one that takes effect beside it. */
function ownSchema(
  config: ContainerdConfig,
  before: ContainerdConfig | undefined,
  directory: string,
): SchemaVersion | undefined {
  const says = (file: ContainerdConfig | undefined, schema: SchemaVersion) => file?.registries[schema].configPath
  const set = schemasOf(config).filter((schema) => says(config, schema) === directory)
  return set.find((schema) => says(before, schema) !== directory) ?? set[0]
}

function schemasOf({ effectiveVersion }: ContainerdConfig): readonly SchemaVersion[] {
  return isSchemaVersion(effectiveVersion) ? [...new Set<SchemaVersion>([effectiveVersion, 3, 2])] : []
}
