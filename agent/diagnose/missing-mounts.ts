// What the configuration asks for and the Pod does not give: a folder of the node that is not mounted, or read-only, or a sidecar that is not
// there. Pure. Only for an agent that sees the node below --root; a Pod that may not start at all (labels of its namespace) asks nothing.
import { posix } from 'node:path'
import { mountOf } from '../daemon/mounts.ts'
import { type DesiredState, needsHostFolder, withWildcard } from '../model/desired-state.ts'
import type { ContainerdFacts } from '../model/observed-state.ts'
import type { Plan } from '../model/plan.ts'
import type { MountPoint } from '../model/ports.ts'

export type MissingRight = {
  readonly severity: 'error' | 'info'
  readonly path: string
  readonly what: string
  readonly remedy: string
}

export type RightsRequest = {
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
}

type Need = {
  readonly path: string
  readonly access: 'read' | 'write'
  readonly why: string
  readonly remedy: string
  readonly severity?: 'info'
}

const FULL = 'Deploy the profile `full` (daemonset/overlays/full)'
const BUILDERS = 'Add the component daemonset/components/builders'

export function missingRights(request: RightsRequest): readonly MissingRight[] {
  const { desired, mounts, hostPath, hasRuntime } = request
  const root = hostPath('/').replace(/\/+$/, '')
  const isPod = root !== '' && mounts.some(({ path }) => path.startsWith(`${root}/`))
  if (!isPod) return []
  const missing = needsOf(request).flatMap((need): MissingRight[] => {
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

function needsOf({ desired, facts, plan, stateFolder }: RightsRequest): readonly Need[] {
  const writes = desired.mode === 'enforce'
  const { systemTrust, docker, containers, containerd } = desired.targets
  const needs: Need[] = [
    { path: stateFolder, access: 'write', why: 'the memory of what is ours', remedy: 'Mount it read-write.' },
    {
      path: '/usr',
      access: 'read',
      why: "the rehearsal with the node's own containerd",
      remedy: 'Mount it read-only, as every profile does.',
    },
  ]
  const isHosts = containerd.enabled !== 'off' && withWildcard(desired).some((one) => needsHostFolder(one, desired))
  const folder = plan?.certsDirectory ?? facts?.defaultCertsDirectory
  if (isHosts && folder !== undefined)
    needs.push({
      path: folder,
      access: writes ? 'write' : 'read',
      why: 'hosts.toml and the CA files',
      remedy: `Deploy the profile \`hosts\` or more${facts?.isConfigGenerated === true ? `, as the overlay for ${facts.layout}` : ''}.`,
    })
  if (facts !== undefined && plan?.changes.some(({ target }) => target === 'containerd-config') === true && writes)
    needs.push({
      path: posix.dirname(facts.configFile),
      access: 'write',
      why: `the edit of ${facts.configFile}`,
      remedy: `${FULL}, or set config_path on the node yourself.`,
    })
  if (systemTrust.enabled !== 'off' && desired.anchors.length > 0 && writes)
    for (const path of ['/etc/ssl/certs', '/usr/local/share/ca-certificates'])
      needs.push({
        path,
        access: 'write',
        why: 'targets.systemTrust',
        remedy: `${FULL}, or set targets.systemTrust.enabled to false: containerd does not need it.`,
        ...(systemTrust.enabled === 'auto' ? { severity: 'info' } : {}),
      })
  for (const [name, enabled] of [
    ['docker', docker.enabled],
    ['containers', containers.enabled],
  ] as const)
    if (enabled === 'on' && writes)
      needs.push({ path: `/etc/${name}`, access: 'write', why: `targets.${name}`, remedy: `${BUILDERS}.` })
  return needs
}

/** The profile without any socket. */
function withoutRuntime({ registries }: DesiredState): readonly MissingRight[] {
  const pulled = registries.filter(({ proof }) => proof.level === 'pull').map(({ host }) => host)
  if (pulled.length === 0) return []
  return [
    {
      severity: 'error',
      path: pulled.join(', '),
      what: 'proof.level is pull, and this agent has no socket of containerd: it is rehearsed only',
      remedy: 'Deploy the profile `hosts+proof` (daemonset/overlays/hosts-proof) or `full`.',
    },
  ]
}
