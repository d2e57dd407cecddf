// Which configuration file a unit's containerd takes: what its command line names, else the place of the distribution.
import { posix } from 'node:path'
import type { UnitFacts } from '../model/ports.ts'
import { LAYOUTS } from './layouts.ts'

export function configFileOf({ name, execStart }: Pick<UnitFacts, 'name' | 'execStart'>): string {
  const at = execStart.findIndex((word) => word === '-c' || word === '--config' || word === '-config')
  const named =
    at >= 0 ? execStart[at + 1] : execStart.find((word) => /^--?config=/.test(word))?.replace(/^--?config=/, '')
  const layout = LAYOUTS.find(({ units }) => units.includes(name)) ?? LAYOUTS[0]
  // k3s and RKE2 have a configuration of their own behind --config, which is not containerd's.
  if (layout?.isConfigGenerated !== true && named?.startsWith('/')) return posix.normalize(named)
  return layout?.configFile ?? '/etc/containerd/config.toml'
}
