// The configuration as the component itself needs it: how the fleet is treated, and what is published. The rule: what
// is in force although the mounted trust.yaml says otherwise is a problem that the page, GET /fleet and a metric tell.
import type { LoadResult } from '../config/load.ts'
import type { OwnSettings } from '../config/own-settings.ts'
import type { DesiredState } from '../model/desired-state.ts'
import type { Problem } from '../model/errors.ts'
import { DEFAULT_FLEET, type FleetSettings } from '../model/fleet.ts'
import type { Log } from '../model/ports.ts'

export type OwnConfig = {
  read(): Promise<void>
  /** The last that could be read; the defaults before. */
  settings(): FleetSettings
  /** With its anchors; undefined: there is none that could be read so far. */
  desired(): DesiredState | undefined
  /** Hosts of the declared registries. */
  hosts(): ReadonlySet<string>
  /** Why something else is in force than what is declared; undefined: it is not. */
  problem(): string | undefined
}

export type OwnConfigOptions = {
  readonly loadConfig: () => Promise<LoadResult>
  readonly loadOwnSettings: () => Promise<OwnSettings>
  readonly log: Log
}

const NOT_RENEWED = 'ConfigMaps of the section publish are not renewed, since not all of their anchors can be used'

/** Of many problems the first few are shown. */
const MOST_TOLD = 3

export function createOwnConfig({ loadConfig, loadOwnSettings, log }: OwnConfigOptions): OwnConfig {
  let desired: DesiredState | undefined
  let settings: FleetSettings | undefined
  let hosts: ReadonlySet<string> = new Set()
  let problem: string | undefined

  const problemOf = async (): Promise<string | undefined> => {
    const loaded = await loadConfig()
    if (loaded.ok) {
      desired = loaded.desired
      settings = loaded.desired.fleet
      hosts = new Set(loaded.desired.registries.map(({ host }) => host))
      return heldBack(loaded.desired)
    }
    // It may be a file that only the agents mount; of those the section fleet needs none.
    const own = await loadOwnSettings()
    if (!own.ok) {
      const instead = settings === undefined ? 'the defaults of the section fleet are' : 'its last valid version is'
      return `trust.yaml is not valid, and ${instead} in force: ${textOf(own.problems)}`
    }
    settings = own.settings.fleet
    hosts = new Set(own.hosts)
    if (!own.hasPublish) return undefined
    return `${NOT_RENEWED}: ${textOf(loaded.problems)}`
  }
  return {
    async read() {
      const before = problem
      problem = await problemOf()
      if (problem !== undefined && problem !== before) log.warn('config-invalid', { problems: problem })
    },
    settings: () => settings ?? DEFAULT_FLEET,
    desired: () => desired,
    hosts: () => hosts,
    problem: () => problem,
  }
}

/** Most often the CA files are in a Secret that only the agents mount. */
function heldBack({ publish = [], anchors }: DesiredState): string | undefined {
  const held = anchors.filter(({ certificates }) => certificates.length === 0)
  if (publish.length === 0 || held.length === 0) return undefined
  return `${NOT_RENEWED}: ${textOf(held.flatMap(({ problems }) => problems))}`
}

function textOf(problems: readonly Problem[]): string {
  const more = problems.length > MOST_TOLD ? ` (and ${problems.length - MOST_TOLD} more)` : ''
  return problems
    .slice(0, MOST_TOLD)
    .map(({ message }) => message)
    .join('; ')
    .concat(more)
}
