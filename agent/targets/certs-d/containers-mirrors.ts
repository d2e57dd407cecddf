// Mirrors for CRI-O, podman, buildah and skopeo: one drop-in of our own in /etc/containers/registries.conf.d. Without
// fallback the last mirror takes the registry's place, so that no other host is ever asked. Source:
// containers-registries.conf(5), containers-registries.conf.d(5).

import { parseUrl } from '../../containerd/hosts/endpoint.ts'
import type { DesiredState, Mirror } from '../../model/desired-state.ts'
import { type Problem, problem } from '../../model/errors.ts'
import type { Change } from '../../model/plan.ts'
import type { TargetInput, TargetPlan } from '../../model/target.ts'
import { renderString } from '../../text/toml.ts'
import { difference, firstUnreadable, isFile, NOTHING_TO_DO, rootFile, sha256 } from '../files/files.ts'
import { outOfReach } from '../guards/out-of-reach.ts'
import { BASE, FOLDER, MIRRORS_FILE, type ObservedMirrors } from './observe-mirrors.ts'

const HEADER =
  '# Managed by registry-trust-agent: changes to this file are undone. Declare mirrors in trust.yaml instead.'

type MirrorsInput = Pick<TargetInput, 'desired' | 'owned'>

export function planMirrors(input: MirrorsInput, observed: ObservedMirrors): TargetPlan {
  const plan = planFile(input, observed)
  return observed.isWritable ? plan : outOfReach(plan, input.owned, FOLDER)
}

function planFile({ desired, owned }: MirrorsInput, { isWritable, folder, file }: ObservedMirrors): TargetPlan {
  const { enabled } = desired.targets.containers
  const text = enabled === 'off' ? undefined : renderMirrors(desired)
  const isOurs = owned[MIRRORS_FILE] !== undefined
  if ((!isWritable || text === undefined) && !isOurs) return NOTHING_TO_DO
  const unreadable = firstUnreadable([[MIRRORS_FILE, file]])
  if (unreadable !== undefined)
    return { changes: [], problems: [problem('NODE_FILE_UNREADABLE', `${unreadable}; it was left unchanged`)] }
  const base = { target: 'containers', path: MIRRORS_FILE, subject: '', folder: FOLDER } as const
  if (text === undefined) {
    const reason = 'no mirrors are declared'
    const changed = file.kind === 'file' && sha256(file.bytes) !== owned[MIRRORS_FILE]?.sha256
    const problems = changed
      ? [problem('FILE_CHANGED_BY_OTHERS', `${MIRRORS_FILE}: changed since the agent wrote it; left unchanged`)]
      : []
    const after = changed ? file : ({ kind: 'absent' } as const)
    return { changes: [{ ...base, action: 'delete', reason, after, owns: [], forgets: [MIRRORS_FILE] }], problems }
  }
  if (!isOurs && file.kind !== 'absent') {
    const why = `${MIRRORS_FILE} exists and is not the agent's; mirrors were not written for the containers tools`
    return { changes: [], problems: [problem('FILE_FOREIGN', why)] }
  }
  const wanted = rootFile(text)
  const problems = inexpressible(desired)
  if (isFile(file, wanted)) return { changes: [], problems: [], warnings: problems }
  const owns = [{ path: MIRRORS_FILE, kind: 'whole' as const, sha256: sha256(wanted.bytes) }]
  const about = file.kind === 'absent' ? { reason: 'mirrors are declared' } : difference(file, wanted)
  const change: Change = {
    ...base,
    ...about,
    action: file.kind === 'absent' ? 'create' : 'update',
    after: wanted,
    owns,
    forgets: [],
  }
  return { changes: [...(folder.kind === 'folder' ? [] : [newFolder()]), change], problems: [], warnings: problems }
}

/** It stays when we leave: distributions ship it, empty or not. */
function newFolder(): Change {
  const after = { kind: 'folder', mode: 0o755 } as const
  return {
    target: 'containers',
    action: 'create',
    path: FOLDER,
    reason: 'mirrors are declared',
    subject: '',
    folder: BASE,
    after,
    owns: [],
    forgets: [],
  }
}

/** Undefined: nothing to say. */
export function renderMirrors({ registries }: DesiredState): string | undefined {
  const blocks = registries.flatMap(({ host, mirrors = [], noFallback }) => {
    const locations = mirrors.flatMap((mirror) => locationOf(mirror, host) ?? [])
    if (locations.length === 0) return []
    const last = noFallback === true ? locations.at(-1) : undefined
    const asked = last === undefined ? locations : locations.slice(0, -1)
    return [
      [
        '[[registry]]',
        `prefix = ${renderString(host)}`,
        `location = ${renderString(last ?? host)}`,
        ...asked.flatMap((location) => ['[[registry.mirror]]', `location = ${renderString(location)}`]),
      ].join('\n'),
    ]
  })
  return blocks.length === 0 ? undefined : `${[HEADER, ...blocks].join('\n\n')}\n`
}

/** These tools always ask `/v2/PATH`, over TLS, send no headers of ours, and have no prefix for every registry. */
function locationOf({ url, overridePath, capabilities }: Mirror, host: string): string | undefined {
  if (host === '*') return undefined
  const endpoint = parseUrl(url)
  if (endpoint === undefined || endpoint.scheme !== 'https' || !capabilities.includes('pull')) return undefined
  if (!overridePath) return `${endpoint.host}${endpoint.path}`
  return /^\/v2(\/|$)/.test(endpoint.path) ? `${endpoint.host}${endpoint.path.slice('/v2'.length)}` : undefined
}

function inexpressible({ registries }: DesiredState): readonly Problem[] {
  return registries.flatMap(({ host, mirrors = [] }) =>
    mirrors
      .filter((mirror) => locationOf(mirror, host) === undefined)
      .map(({ url }) =>
        problem(
          'CONFIG_NOT_SUPPORTED_YET',
          `the mirror ${url} of ${host} cannot be configured for podman, buildah, skopeo and CRI-O: only containerd uses it`,
        ),
      ),
  )
}
