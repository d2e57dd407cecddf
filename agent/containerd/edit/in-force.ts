// An edit of config.toml that takes effect: a key can stand under the plugin ids of two schemas, and which of them counts
// depends on the version lines, on the imported files and on this containerd.
import { isDeepStrictEqual } from 'node:util'
import { setKey } from '../../text/toml-edit.ts'
import { type Effective, effectiveRegistry } from '../config/imports.ts'
import { type ContainerdConfig, readContainerdConfig } from '../config/read.ts'
import {
  CONFIG_SCHEMAS,
  type ContainerdVersion,
  isSchemaVersion,
  type SchemaVersion,
} from '../config/schema-version.ts'

export type Surroundings = {
  readonly imports: readonly ContainerdConfig[]
  readonly version: ContainerdVersion
  readonly areImportsMerged?: boolean | undefined
}

/**
 * The text in which config_path, or the sandbox image, has this value for containerd and nothing else of the registries
 * is different. Undefined: no place of this file does that.
 * @throws AgentError for a text that cannot be edited.
 */
export async function setInForce(
  what: 'configPath' | 'sandboxImage',
  value: string,
  config: ContainerdConfig,
  around: Surroundings,
): Promise<string | undefined> {
  const before = effectOf(config, around)
  for (const schema of schemasToTry(config, around.version)) {
    const { registry, sandboxImage } = CONFIG_SCHEMAS[schema]
    const key = what === 'configPath' ? [...registry, 'config_path'] : sandboxImage
    const text = await setKey(config.text, key, value, { path: config.path })
    const after = effectOf(readContainerdConfig(Buffer.from(text), { path: config.path }), around)
    if (before === undefined || after === undefined) continue
    if (isDeepStrictEqual(comparable(after), comparable(before, what, value))) return text
  }
  return undefined
}

/** The file's own schema first. */
function schemasToTry({ effectiveVersion }: ContainerdConfig, version: ContainerdVersion): readonly SchemaVersion[] {
  const own = isSchemaVersion(effectiveVersion) ? [effectiveVersion] : []
  return version.major < 2 ? own : [...new Set<SchemaVersion>([...own, 3, 2])]
}

function effectOf(
  config: ContainerdConfig,
  { imports, version, areImportsMerged }: Surroundings,
): Effective | undefined {
  const merged = effectiveRegistry(config, imports, version, areImportsMerged)
  return merged.ok ? merged : undefined
}

function comparable({ registry, sandbox }: Effective, what?: 'configPath' | 'sandboxImage', value?: string): object {
  const { decidedBy: _, configPath = '', ...rest } = registry
  const { image = '' } = sandbox
  return {
    ...rest,
    configPath: what === 'configPath' ? value : configPath,
    image: what === 'sandboxImage' ? value : image,
  }
}
