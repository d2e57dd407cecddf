// Tables of config.toml that stand under the plugin id of another version: containerd says nothing, or one warning, and
// goes on without them. Which they are depends on the version line and on the containerd (imports.ts tells the rules).
import { itemAt, tableAt } from '../../text/toml.ts'
import type { ContainerdConfig } from './read.ts'
import { CONFIG_SCHEMAS, type ContainerdVersion, isAtLeast, type KeyPath } from './schema-version.ts'

export type IgnoredTable = { readonly table: string; readonly reason: string }

const CRI = CONFIG_SCHEMAS[2].criTables[0] ?? []
const OF_ONE = CONFIG_SCHEMAS[1].criTables
/** The rest of that table is of 3 as well. */
const OF_TWO = [CONFIG_SCHEMAS[2].registry, [...CRI, 'containerd']]
const SPLIT = CONFIG_SCHEMAS[3].criTables.filter((path) => path[1] !== CRI[1])

/** For people; in the order of the versions that they belong to. */
export function ignoredTables(config: ContainerdConfig, version: ContainerdVersion): readonly IgnoredTable[] {
  const { parsed, effectiveVersion: own } = config
  const belongsTo = (of: number) => `this name belongs to version ${of}, the file is ${own}`
  const ignored = (paths: readonly KeyPath[], reason: string) =>
    paths.filter((path) => tableAt(parsed, path) !== undefined).map((path) => ({ table: nameOf(path), reason }))
  const isOld = version.major < 2
  if (own === 1 && isOld) return ignored([CRI, ...SPLIT], whyOne(config))
  if (own === 1) return isAtLeast(version, 2, 3) ? replaced(config) : ignored([...OF_ONE, ...OF_TWO], whyOne(config))
  const old = ignored(OF_ONE, belongsTo(1))
  if (own === 2) return [...old, ...(isOld ? ignored(SPLIT, belongsTo(3)) : replaced(config))]
  if (own === 3 && isAtLeast(version, 2, 3)) return [...old, ...replaced(config)]
  return [...old, ...ignored(OF_TWO, belongsTo(2))]
}

function whyOne({ declaredVersion }: ContainerdConfig): string {
  return declaredVersion === undefined ? 'without a version line the file counts as version 1' : 'the file is version 1'
}

/** The table of version 2 is moved to the place of the one of version 3, whole. */
function replaced({ parsed }: ContainerdConfig): readonly IgnoredTable[] {
  const [two, three] = [CONFIG_SCHEMAS[2].registry, CONFIG_SCHEMAS[3].registry]
  if (itemAt(parsed, two) === undefined || itemAt(parsed, three) === undefined) return []
  return [{ table: nameOf(three), reason: `${nameOf(two)} stands in the same file and takes its place` }]
}

function nameOf(path: KeyPath): string {
  return path.map((key) => (/^[\w-]+$/.test(key) ? key : `"${key}"`)).join('.')
}
