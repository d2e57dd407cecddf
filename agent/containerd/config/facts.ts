// Small readings of the observed containerd that several surfaces show.

import type { ContainerdFacts } from '../../model/observed-state.ts'
import { readContainerdConfig } from './read.ts'
import { parseContainerdVersion, schemaForNewFile } from './schema-version.ts'

/** The schema version of config.toml as containerd takes it; null when the file cannot be read. */
export function configVersionOf({ config, configFile, version }: ContainerdFacts): number | null {
  if (config.kind === 'file') {
    try {
      return readContainerdConfig(config.bytes, { path: configFile }).effectiveVersion
    } catch {
      // The plan reports the file with its position; here it is only unknown.
      return null
    }
  }
  const parsed = parseContainerdVersion(version)
  return parsed === undefined ? null : schemaForNewFile(parsed)
}
