// What is wrong with what containerd reads, whoever wrote it: tables that it passes over, host directories that it
// ignores.
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

function configAilments({ config, configFile, version }: ContainerdFacts): readonly TargetAilment[] {
  if (config.kind !== 'file') return []
  try {
    const read = readContainerdConfig(config.bytes, { path: configFile })
    const ignored = [...read.ignored, ...read.unquoted].map(
      ({ table, reason }): TargetAilment => ({
        severity: 'error',
        where: configFile,
        what: `containerd ${version} ignores [${table}]: ${reason}`,
        remedy: read.ignored.some((one) => one.table === table) ? OTHER_VERSION : `${capital(reason)}.`,
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
    return [...ignored, ...noVersion]
  } catch (thrown) {
    const { message, remedy } = asAgentError(thrown)
    return [{ severity: 'error', where: configFile, what: message, remedy }]
  }
}
