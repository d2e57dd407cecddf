// What is wrong with what containerd reads, whoever wrote it: tables that it passes over, host directories that it
// ignores.
import { ignoredTables } from '../../containerd/config/ignored.ts'
import { readContainerdConfig } from '../../containerd/config/read.ts'
import { parseContainerdVersion } from '../../containerd/config/schema-version.ts'
import { checkTree } from '../../containerd/hosts/lookup.ts'
import { asAgentError } from '../../model/errors.ts'
import type { ContainerdFacts } from '../../model/observed-state.ts'
import type { Plan } from '../../model/plan.ts'
import type { NodeFiles } from '../../model/ports.ts'
import type { TargetAilment } from '../../model/target.ts'
import { readCertsTree } from '../containerd-hosts/directories.ts'

export async function examineContainerd(
  { facts, plan }: { readonly facts: ContainerdFacts; readonly plan: Plan },
  files: NodeFiles,
): Promise<readonly TargetAilment[]> {
  const { certsDirectory } = plan
  if (certsDirectory === undefined) return configAilments(facts)
  const found = checkTree(
    certsDirectory,
    await readCertsTree(certsDirectory, files),
    parseContainerdVersion(facts.version),
  )
  const inTree = found.map(({ path: where, message: what, ...rest }) => ({ where, what, ...rest }))
  return [...configAilments(facts), ...inTree]
}

const OTHER_VERSION = 'Move the settings to the table of this version, or correct the version line.'

const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1)

function configAilments(facts: ContainerdFacts): readonly TargetAilment[] {
  const { config, configFile, version, unloadableImports = [], unseenImport } = facts
  if (config.kind !== 'file') return []
  const broken: readonly TargetAilment[] =
    unseenImport === undefined || unloadableImports.length === 0
      ? []
      : [{ severity: 'error', where: configFile, what: unseenImport.message, remedy: unseenImport.remedy }]
  try {
    const read = readContainerdConfig(config.bytes, { path: configFile })
    const parsed = parseContainerdVersion(version)
    const otherwise = parsed === undefined ? [] : ignoredTables(read, parsed)
    const ignored = [...otherwise, ...read.unquoted].map(
      ({ table, reason }): TargetAilment => ({
        severity: 'error',
        where: configFile,
        what: `containerd ${version} ignores [${table}]: ${reason}`,
        remedy: otherwise.some((one) => one.table === table) ? OTHER_VERSION : `${capital(reason)}.`,
      }),
    )
    const noVersion: readonly TargetAilment[] =
      read.declaredVersion === undefined && !read.isEmpty
        ? [
            {
              severity: 'warning',
              where: configFile,
              what: 'there is no version line, so the file counts as version 1',
              remedy:
                'Write `version = 2` (containerd 1.x) or `version = 3` (2.x) as its first line, with tables to match.',
            },
          ]
        : []
    return [...broken, ...ignored, ...noVersion]
  } catch (thrown) {
    const { message, remedy } = asAgentError(thrown)
    return [{ severity: 'error', where: configFile, what: message, remedy }]
  }
}
