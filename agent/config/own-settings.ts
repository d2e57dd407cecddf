// What the main files of the configuration say besides anchors and registries, without a look at any CA file: for a
// Pod that has trust.yaml and not the Secrets that it names.
import type { Problem } from '../model/errors.ts'
import type { InputFiles } from '../model/ports.ts'
import { collectFiles } from './collect.ts'
import { type LoadedSettings, loadSettings } from './declarations/settings.ts'
import { readConfigFile } from './reading/config-file.ts'
import { Report } from './reading/report.ts'
import { validateTree } from './schema/validate.ts'

export type OwnSettings =
  | {
      readonly ok: true
      readonly settings: LoadedSettings
      /** The section `publish` is there: it needs the anchors, so their files too. */
      readonly hasPublish: boolean
      /** Of the registries that are declared, as they stand there. */
      readonly hosts: readonly string[]
    }
  | { readonly ok: false; readonly problems: readonly Problem[] }

/** @param paths as --config has them */
export async function loadOwnSettings(paths: readonly string[], files: InputFiles): Promise<OwnSettings> {
  const report = new Report()
  const { raw } = await collectFiles(paths, { files, onStep: () => undefined, harmful: new Map() }, report)
  const own = raw
    .filter(({ isFragment }) => !isFragment)
    .flatMap((file) => readConfigFile(file, validateTree, report) ?? [])
  const settings = loadSettings(own, report)
  if (!report.isEmpty) return { ok: false, problems: report.problems() }
  const hosts = own.flatMap(({ value }) => hostsIn(value['registries']))
  return { ok: true, settings, hasPublish: own.some(({ value }) => value['publish'] !== undefined), hosts }
}

function hostsIn(registries: unknown): readonly string[] {
  if (!Array.isArray(registries)) return []
  return registries.flatMap((one: { readonly host?: unknown } | null) =>
    typeof one?.host === 'string' ? [one.host] : [],
  )
}
