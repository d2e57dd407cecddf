// The sandbox (pause) image that config.toml and the files that it imports make containerd use.

import { effectiveRegistry } from '../../containerd/config/imports.ts'
import { readContainerdConfig } from '../../containerd/config/read.ts'
import { parseContainerdVersion } from '../../containerd/config/schema-version.ts'
import { layoutNamed } from '../../containerd/layouts.ts'
import type { ContainerdFacts } from '../../model/observed-state.ts'

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
