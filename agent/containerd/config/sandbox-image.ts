// The sandbox (pause) image that config.toml and the files that it imports make containerd use.
import type { ContainerdFacts } from '../../model/observed-state.ts'
import { layoutNamed } from '../layouts.ts'
import { effectiveRegistry } from './imports.ts'
import { readContainerdConfig } from './read.ts'
import { parseContainerdVersion } from './schema-version.ts'

/** Undefined: none of them sets it, or they cannot be read, which the plan reports. */
export function sandboxImageOf({ config, configFile, imports, version, layout }: ContainerdFacts): string | undefined {
  const parsed = parseContainerdVersion(version)
  if (config.kind !== 'file' || parsed === undefined) return undefined
  try {
    const main = readContainerdConfig(config.bytes, { path: configFile })
    const others = imports.map(({ path, bytes }) => readContainerdConfig(bytes, { path }))
    const merged = effectiveRegistry(main, others, parsed, layoutNamed(layout)?.dropIns !== undefined)
    return merged.ok ? merged.sandbox.image : undefined
  } catch {
    return undefined
  }
}
