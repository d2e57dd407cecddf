// What the configuration asks for and the Pod does not give: a folder of the node that is not mounted, or read-only, or
// a sidecar that is not there. Pure. Only for an agent that sees the node below --root; a Pod that may not start at all
// (labels of its namespace) asks nothing.

import { mountOf } from '../daemon/watch/mounts.ts'
import type { DesiredState } from '../model/desired-state.ts'
import type { ContainerdFacts } from '../model/observed-state.ts'
import type { Plan } from '../model/plan.ts'
import type { MountPoint } from '../model/ports.ts'
import type { Need, Target } from '../model/target.ts'
import { TARGETS } from '../targets/targets.ts'

export type MissingMount = {
  readonly severity: 'error' | 'info'
  readonly path: string
  readonly what: string
  readonly remedy: string
}

export type MountsRequest = {
  readonly desired: DesiredState
  /** Undefined where containerd cannot be looked at. */
  readonly facts: ContainerdFacts | undefined
  readonly plan: Plan | undefined
  readonly mounts: readonly MountPoint[]
  /** Path of the node in the agent's own view. */
  readonly hostPath: (path: string) => string
  readonly stateFolder: string
  /** The agent has a socket of containerd, its own or that of the cri-proxy. */
  readonly hasRuntime: boolean
  /** Absent: all that the agent knows. */
  readonly targets?: readonly Target[] | undefined
}

export function missingMounts(request: MountsRequest): readonly MissingMount[] {
  const { desired, mounts, hostPath, hasRuntime } = request
  const root = hostPath('/').replace(/\/+$/, '')
  const isPod = root !== '' && mounts.some(({ path }) => path.startsWith(`${root}/`))
  if (!isPod) return []
  const missing = needsOf(request).flatMap((need): MissingMount[] => {
    const mount = mountOf(hostPath(need.path), mounts)
    const isMounted = mount?.path.startsWith(`${root}/`) === true
    if (isMounted && (need.access === 'read' || !mount.isReadOnly)) return []
    const state = isMounted ? 'is mounted read-only' : 'is not mounted from the node'
    return [
      {
        severity: need.severity ?? 'error',
        path: need.path,
        what: `${state}, which is needed for ${need.why}`,
        remedy: need.remedy,
      },
    ]
  })
  return [...missing, ...(hasRuntime ? [] : withoutRuntime(desired))]
}

function needsOf({ targets = TARGETS, stateFolder, ...input }: MountsRequest): readonly Need[] {
  return [
    { path: stateFolder, access: 'write', why: "the agent's record of what it owns", remedy: 'Mount it read-write.' },
    {
      path: '/usr',
      access: 'read',
      why: "the rehearsal with the node's own containerd",
      remedy: 'Mount it read-only, as every profile does.',
    },
    ...targets.flatMap((target) => target.needs(input)),
  ]
}

/** The profile without any socket. */
function withoutRuntime({ registries }: DesiredState): readonly MissingMount[] {
  const pulled = registries.filter(({ proof }) => proof.level === 'pull').map(({ host }) => host)
  if (pulled.length === 0) return []
  return [
    {
      severity: 'error',
      path: pulled.join(', '),
      what: 'proof.level is pull, and this agent has no socket of containerd: pulls are only rehearsed',
      remedy: 'Deploy the profile `hosts+proof` (daemonset/overlays/hosts-proof) or `full`.',
    },
  ]
}
