// The sections besides anchors and registries: merged key by key from all files, completed with the defaults of the
// schema, checked.
import {
  type Condition,
  type DesiredState,
  type MaintenanceWindow,
  type Switch,
  type TargetSettings,
  WEEKDAYS,
} from '../../model/desired-state.ts'
import { escapePointer, unescapePointer } from '../../text/yaml-tree.ts'
import type { ConfigFile } from '../reading/config-file.ts'
import { checkRegistryHost } from '../reading/registry-host.ts'
import { type Place, placeText, type Report } from '../reading/report.ts'
import type { Settings } from '../reading/trust-file.ts'
import { formatDuration, parseDuration } from '../schema/duration.ts'
import { TRUST_SCHEMA } from '../schema/schema.ts'
import { withDefaults } from '../schema/validate.ts'
import { convertFleet } from './fleet-settings.ts'

type Leaf = { readonly file: ConfigFile; readonly pointer: string; readonly value: unknown }

const SECTIONS = ['mode', 'targets', 'containerd', 'restart', 'policy', 'drift', 'log', 'fleet'] as const

const DURATION_MIN_MS = 1000
const DURATION_MAX_MS = 24 * 3600 * 1000

export type LoadedSettings = Pick<
  DesiredState,
  'mode' | 'targets' | 'sandboxImage' | 'restart' | 'policy' | 'drift' | 'logLevel' | 'fleet'
>

export function loadSettings(files: readonly ConfigFile[], report: Report): LoadedSettings {
  const leaves = mergeLeaves(files, report)
  const given: Record<string, unknown> = Object.create(null)
  for (const { pointer, value } of leaves.values()) put(given, pointer.slice(1).split('/').map(unescapePointer), value)
  const {
    anchors: _anchors,
    registries: _registries,
    publish: _publish,
    distrust: _distrust,
    ...properties
  } = TRUST_SCHEMA.properties
  // The schema has accepted every leaf and the defaults are the schema's own.
  const settings = withDefaults({ properties }, given) as Settings
  checkPolicyHosts(leaves.get('/policy/forbidAnchorsFor'), report)
  return convert(settings, (pointer, text) => durationMs(leaves.get(pointer), text, report), leaves, report)
}

function mergeLeaves(files: readonly ConfigFile[], report: Report): ReadonlyMap<string, Leaf> {
  const merged = new Map<string, Leaf>()
  for (const file of files) {
    for (const section of SECTIONS) {
      for (const leaf of leavesOf(file, `/${section}`, file.value[section])) {
        const earlier = merged.get(leaf.pointer)
        if (earlier === undefined) merged.set(leaf.pointer, leaf)
        else if (JSON.stringify(earlier.value) !== JSON.stringify(leaf.value))
          reportContradiction(earlier, leaf, report)
      }
    }
  }
  return merged
}

function* leavesOf(file: ConfigFile, pointer: string, value: unknown): Generator<Leaf> {
  if (value === undefined || value === null) return
  const isMap = typeof value === 'object' && !Array.isArray(value)
  if (isMap && Object.keys(value).length > 0) {
    for (const [key, child] of Object.entries(value)) yield* leavesOf(file, `${pointer}/${escapePointer(key)}`, child)
  } else if (file.isSound(pointer)) {
    yield { file, pointer, value }
  }
}

function reportContradiction(earlier: Leaf, later: Leaf, report: Report): void {
  const other = placeText(earlier.file.place(earlier.pointer, 'value'))
  const text = `contradicts ${other}, where the same key has another value`
  report.add('CONFIG_CONFLICT', later.file.place(later.pointer, 'value'), later.file.subject(later.pointer), text)
}

function put(target: Record<string, unknown>, keys: readonly string[], value: unknown): void {
  const [key = '', ...rest] = keys
  if (rest.length === 0) {
    target[key] = value
    return
  }
  const existing = target[key]
  const inner: Record<string, unknown> =
    typeof existing === 'object' && existing !== null ? (existing as Record<string, unknown>) : Object.create(null)
  target[key] = inner
  put(inner, rest, value)
}

function convert(
  settings: Settings,
  ms: (pointer: string, text: string) => number,
  leaves: ReadonlyMap<string, Leaf>,
  report: Report,
): LoadedSettings {
  const { targets, containerd, restart, policy, drift, log } = settings
  const { maxPerHour, backoff } = restart.budget
  const backoffMinMs = ms('/restart/budget/backoff/min', backoff.min)
  const backoffMaxMs = ms('/restart/budget/backoff/max', backoff.max)
  if (backoffMinMs > backoffMaxMs) {
    const leaf = leaves.get('/restart/budget/backoff/min') ?? leaves.get('/restart/budget/backoff/max')
    const text = `is not in order: the first pause ${backoff.min} is longer than the longest one ${backoff.max}`
    if (leaf !== undefined) report.add('CONFIG_INVALID', placeOf(leaf), leaf.file.subject(leaf.pointer), text)
  }
  return {
    mode: settings.mode,
    targets: {
      systemTrust: { ...switchOf(targets.systemTrust), fileName: targets.systemTrust.fileName },
      containerd: { ...switchOf(targets.containerd), layout: targets.containerd.layout },
      docker: switchOf(targets.docker),
      containers: switchOf(targets.containers),
      k3s: switchOf(targets.k3s),
      crictl: switchOf(targets.crictl),
      hostsFile: switchOf(targets.hostsFile),
    },
    ...(containerd.sandboxImage === undefined ? {} : { sandboxImage: containerd.sandboxImage }),
    restart: {
      ...whenOf(restart),
      strategy: restart.strategy,
      permit: restart.permit,
      unit: restart.unit,
      maxPerHour,
      backoffMinMs,
      backoffMaxMs,
      ...convertWindow(restart.window, leaves, report),
    },
    policy: { ...policy },
    drift: {
      resyncMs: ms('/drift/resync', drift.resync),
      heal: drift.heal,
      stopAfterFights: drift.stopAfterFights,
      ...(drift.spread !== undefined && { spreadMs: ms('/drift/spread', drift.spread) }),
    },
    fleet: convertFleet(settings.fleet, ms),
    ...(log?.level !== undefined && { logLevel: log.level }),
  }
}

function convertWindow(
  window: Settings['restart']['window'],
  leaves: ReadonlyMap<string, Leaf>,
  report: Report,
): { readonly window?: MaintenanceWindow } {
  const { days = WEEKDAYS, from, to, timeZone = 'UTC' } = window ?? {}
  // The schema has asked for both; without them there is no window.
  if (from === undefined || to === undefined) return {}
  const leaf = leaves.get('/restart/window/timeZone')
  if (leaf !== undefined && !isTimeZone(timeZone))
    report.add(
      'CONFIG_INVALID',
      placeOf(leaf),
      leaf.file.subject(leaf.pointer),
      `must be an IANA time zone such as Europe/Berlin, found ${JSON.stringify(timeZone)}`,
    )
  return { window: { days: days.length === 0 ? WEEKDAYS : days, from, to, timeZone } }
}

function isTimeZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone !== ''
  } catch {
    return false
  }
}

function switchOf({
  enabled,
  when,
}: {
  readonly enabled: 'auto' | boolean
  readonly when?: Condition
}): TargetSettings {
  return { enabled: toSwitch(enabled), ...whenOf({ when }) }
}

function whenOf({ when }: { readonly when?: Condition | undefined }): { readonly when?: Condition } {
  return when === undefined ? {} : { when }
}

function toSwitch(enabled: 'auto' | boolean): Switch {
  if (enabled === 'auto') return 'auto'
  return enabled ? 'on' : 'off'
}

function durationMs(leaf: Leaf | undefined, text: string, report: Report): number {
  const ms = parseDuration(text) ?? DURATION_MIN_MS
  const problem = checkDuration(text)
  if (leaf !== undefined && problem !== undefined) {
    report.add('CONFIG_INVALID', placeOf(leaf), leaf.file.subject(leaf.pointer), problem)
  }
  return ms
}

/** Why a duration that the schema accepts is out of bounds; reads on after the key path. */
export function checkDuration(text: string): string | undefined {
  const ms = parseDuration(text)
  if (ms !== undefined && ms >= DURATION_MIN_MS && ms <= DURATION_MAX_MS) return undefined
  const bounds = `${formatDuration(DURATION_MIN_MS)} and ${formatDuration(DURATION_MAX_MS)}`
  return `must be between ${bounds}, found ${JSON.stringify(text)}`
}

function checkPolicyHosts(leaf: Leaf | undefined, report: Report): void {
  if (leaf === undefined || !Array.isArray(leaf.value)) return
  leaf.value.forEach((host: unknown, index) => {
    const problem = typeof host === 'string' ? checkRegistryHost(host) : undefined
    const pointer = `${leaf.pointer}/${index}`
    if (problem === undefined) return
    report.add(problem.code, leaf.file.place(pointer, 'value'), leaf.file.subject(pointer), problem.text)
  })
}

function placeOf(leaf: Leaf): Place {
  return leaf.file.place(leaf.pointer, 'value')
}
