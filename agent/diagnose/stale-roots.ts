// Daemons beside containerd that read the system store once and run with an older one: Go loads it at the first TLS
// connection of a process (crypto/x509 root.go). They are named, with since when and what cures it; the agent never
// restarts one.
import type { NodeFiles, Processes, ServiceProcess, Systemd } from '../model/ports.ts'
import { systemRootsFacts } from '../reconcile/observe/system-roots.ts'

type Daemon = { readonly unit: string; readonly remedy: string }

const ANYTIME = 'Restart it when it suits: running containers stay.'
const WITH_CONTAINERD = 'Restart it when it suits: the kubelet and containerd restart with it.'
const KUBELET = `${ANYTIME} It matters for credential providers and webhooks, not for pulls.`
const DOCKER = 'Restart it when it suits, with live-restore on: else its containers stop. Hosts in certs.d need none.'
const BUILDS = 'Restart it when no build runs.'

/** Programs in Go that ask registries or the API server over TLS. */
export const DAEMONS: readonly Daemon[] = [
  { unit: 'kubelet.service', remedy: KUBELET },
  { unit: 'docker.service', remedy: DOCKER },
  { unit: 'snap.docker.dockerd.service', remedy: DOCKER },
  { unit: 'crio.service', remedy: `${ANYTIME} Hosts in /etc/containers/certs.d need none.` },
  { unit: 'k3s.service', remedy: WITH_CONTAINERD },
  { unit: 'k3s-agent.service', remedy: WITH_CONTAINERD },
  { unit: 'rke2-server.service', remedy: WITH_CONTAINERD },
  { unit: 'rke2-agent.service', remedy: WITH_CONTAINERD },
  { unit: 'k0scontroller.service', remedy: WITH_CONTAINERD },
  { unit: 'k0sworker.service', remedy: WITH_CONTAINERD },
  { unit: 'snap.microk8s.daemon-kubelite.service', remedy: KUBELET },
  { unit: 'buildkit.service', remedy: BUILDS },
  { unit: 'buildkitd.service', remedy: BUILDS },
]

/** By the name of the process (proc(5), comm), for one that a wrapper starts, or a unit of another name. */
const PROGRAMS: { readonly [name: string]: string } = {
  kubelet: KUBELET,
  kubelite: KUBELET,
  dockerd: DOCKER,
  crio: `${ANYTIME} Hosts in /etc/containers/certs.d need none.`,
  k3s: WITH_CONTAINERD,
  'k3s-server': WITH_CONTAINERD,
  'k3s-agent': WITH_CONTAINERD,
  rke2: WITH_CONTAINERD,
  k0s: WITH_CONTAINERD,
  buildkitd: BUILDS,
}

export type StaleRoots = { readonly where: string; readonly what: string; readonly remedy: string }

export type StaleRootsPorts = {
  readonly files: NodeFiles
  readonly systemd: Pick<Systemd, 'isAvailable' | 'unit'>
  readonly processes: Pick<Processes, 'ofServices'>
  readonly clock: { now(): number; monotonic(): number }
}

type Running = Daemon & {
  /** The process itself where its unit has others; empty: the main one. */
  readonly program: string
  readonly startedAt: number
  readonly environment: { readonly [name: string]: string }
}

/** Processes where they can be seen, else what systemd says of the units; and that neither can be, where it matters. */
export async function staleRoots(ports: StaleRootsPorts): Promise<readonly StaleRoots[]> {
  const { files } = ports
  const processes = oldest(ports.processes.ofServices(new Set(Object.keys(PROGRAMS))))
  const { units, unknown } = await unitsBeside(processes, ports)
  const found: StaleRoots[] = []
  for (const { unit, program, remedy, startedAt, environment } of [...processes, ...units]) {
    // With SSL_CERT_FILE or SSL_CERT_DIR it reads a store of its own.
    const roots = await systemRootsFacts(files, { environment })
    if (roots === undefined || startedAt >= roots.changedAt) continue
    const [since, changed] = [startedAt, roots.changedAt].map((ms) => new Date(ms).toISOString())
    found.push({
      where: program === '' || unit === `${program}.service` ? unit : `${unit} (${program})`,
      what: `runs since ${since}; ${roots.path} changed at ${changed}, which it may not have read`,
      remedy,
    })
  }
  // Elsewhere /proc shows every process: where none is found, none runs.
  const isPod = files.hostPath('/').replace(/\/+$/, '') !== ''
  return isPod && unknown && processes.length === 0 ? [...found, ...(await notSeen(ports))] : found
}

/** A daemon may start others of its name; the first one has the oldest store. */
function oldest(processes: readonly ServiceProcess[]): readonly Running[] {
  const first = new Map<string, Running>()
  for (const { name, unit, startedAt, environment } of processes.toSorted((a, b) => a.startedAt - b.startedAt)) {
    const known = DAEMONS.find((daemon) => daemon.unit === unit)
    const remedy = known?.remedy ?? PROGRAMS[name] ?? ANYTIME
    const key = `${unit} ${name}`
    if (!first.has(key)) first.set(key, { unit, program: name, remedy, startedAt, environment })
  }
  return [...first.values()]
}

/** Units of which no process can be seen. The restarter of a Pod shows those of containerd alone. */
async function unitsBeside(
  processes: readonly Running[],
  { systemd }: StaleRootsPorts,
): Promise<{ readonly units: readonly Running[]; readonly unknown: boolean }> {
  if (!(await systemd.isAvailable())) return { units: [], unknown: true }
  const seen = new Set(processes.map(({ unit }) => unit))
  const units: Running[] = []
  let unknown = false
  for (const { unit: name, remedy } of DAEMONS) {
    if (seen.has(name)) continue
    const unit = await systemd.unit(name).catch(() => 'refused' as const)
    if (unit === 'refused') unknown = true
    else if (unit !== undefined && unit.mainPid !== 0 && unit.startedAt !== undefined)
      units.push({ unit: name, program: '', remedy, startedAt: unit.startedAt, environment: unit.environment })
  }
  return { units, unknown }
}

/** No running process can have read the store before the last boot, so an older change is not reported. */
async function notSeen({ files, clock }: StaleRootsPorts): Promise<readonly StaleRoots[]> {
  const roots = await systemRootsFacts(files)
  if (roots === undefined || roots.changedAt <= clock.now() - clock.monotonic()) return []
  const what = `${roots.path} changed at ${new Date(roots.changedAt).toISOString()}; whether kubelet, dockerd and other daemons have started since cannot be seen from here`
  const remedy =
    'On the node compare `systemctl show -p ExecMainStartTimestamp kubelet docker crio`, and restart what is older when it suits.'
  return [{ where: 'daemons beside containerd', what, remedy }]
}
