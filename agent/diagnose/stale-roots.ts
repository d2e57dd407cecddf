// Daemons beside containerd that read the system store once and run with an older one: Go loads it at the first TLS
// connection of a process (crypto/x509 root.go). They are named, with since when and what cures it; the agent never
// restarts one.
import type { SystemRootsFacts } from '../model/observed-state.ts'
import type { Systemd } from '../model/ports.ts'

type Daemon = { readonly unit: string; readonly remedy: string }

const ANYTIME = 'Restart it when it suits: running containers stay.'
const WITH_CONTAINERD = 'Restart it when it suits: the kubelet and containerd restart with it.'

/** Programs in Go that ask registries or the API server over TLS. */
export const DAEMONS: readonly Daemon[] = [
  { unit: 'kubelet.service', remedy: `${ANYTIME} It matters for credential providers and webhooks, not for pulls.` },
  {
    unit: 'docker.service',
    remedy: 'Restart it when it suits, with live-restore on: else its containers stop. Hosts in certs.d need none.',
  },
  { unit: 'crio.service', remedy: `${ANYTIME} Hosts in /etc/containers/certs.d need none.` },
  { unit: 'k3s.service', remedy: WITH_CONTAINERD },
  { unit: 'k3s-agent.service', remedy: WITH_CONTAINERD },
  { unit: 'rke2-server.service', remedy: WITH_CONTAINERD },
  { unit: 'rke2-agent.service', remedy: WITH_CONTAINERD },
  { unit: 'buildkit.service', remedy: 'Restart it when no build runs.' },
  { unit: 'buildkitd.service', remedy: 'Restart it when no build runs.' },
]

export type StaleRoots = { readonly where: string; readonly what: string; readonly remedy: string }

/** Empty where units cannot be seen; the restarter of a Pod shows those of containerd alone. */
export async function staleRoots(
  roots: SystemRootsFacts | undefined,
  systemd: Pick<Systemd, 'isAvailable' | 'unit'>,
): Promise<readonly StaleRoots[]> {
  if (roots === undefined || !(await systemd.isAvailable())) return []
  const found: StaleRoots[] = []
  for (const { unit: name, remedy } of DAEMONS) {
    const unit = await systemd.unit(name).catch(() => undefined)
    if (unit === undefined || unit.mainPid === 0 || unit.startedAt === undefined) continue
    if (unit.startedAt >= roots.changedAt) continue
    const [since, changed] = [unit.startedAt, roots.changedAt].map((ms) => new Date(ms).toISOString())
    found.push({
      where: name,
      what: `runs since ${since}; ${roots.path} changed at ${changed}, which it may not have read`,
      remedy,
    })
  }
  return found
}
