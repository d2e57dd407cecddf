// `doctor`: everything on this node that is wrong or will be, worst first. Reads, and asks each declared registry once;
// where the agent runs in a Pod, also what that Pod lacks for what trust.yaml asks.
// This room: what is wrong on a node, for a person who asks: doctor, explain, missing mounts.
// Begin here; then missing-mounts.ts and explain-image.ts.
// May touch: nothing is changed; each declared registry is asked once.

import { defectsOf } from '../containerd/defects.ts'
import { deprecationOf } from '../containerd/deprecations.ts'
import { withdrawnButTrusted } from '../daemon/advisories.ts'
import { staleHostsFile, staleSources } from '../daemon/watch/mounts.ts'
import type { DesiredState } from '../model/desired-state.ts'
import { nothingDesired, wantsContainerd } from '../model/desired-state.ts'
import { asAgentError, type Problem } from '../model/errors.ts'
import { provesTrust } from '../model/finding.ts'
import type { ContainerdFacts, ObservedContainerd } from '../model/observed-state.ts'
import { NO_RUNTIME } from '../model/observed-state.ts'
import type { Plan, Planned, RestartNeed } from '../model/plan.ts'
import type { CriClient, MountPoint } from '../model/ports.ts'
import type { RunPorts } from '../model/run-ports.ts'
import type { DriftStatus, RuntimeIdentity } from '../model/status.ts'
import type { TargetAilment } from '../model/target.ts'
import { observeContainerd, observeWithoutRuntime } from '../reconcile/observe/containerd.ts'
import { proveDeclared } from '../reconcile/prove/prove.ts'
import { isProved } from '../reconcile/prove/pull.ts'
import { rehearse } from '../reconcile/rehearse/rehearse.ts'
import { chooseRestart } from '../reconcile/restart/restart.ts'
import { desiredOnCrio } from '../reconcile/run/beside-crio.ts'
import { makePlan } from '../reconcile/run/planning.ts'
import { TARGETS } from '../targets/targets.ts'
import { examineCrio } from './crio.ts'
import { missingMounts } from './missing-mounts.ts'
import { staleRoots } from './stale-roots.ts'

export type Severity = TargetAilment['severity']
export type Ailment = TargetAilment

export type DoctorReport = {
  readonly containerd: { readonly version: string; readonly socket: string; readonly configFile: string } | null
  /** What answers CRI on this node; null: nothing does, or it was not asked. */
  readonly runtime: RuntimeIdentity | null
  readonly ailments: readonly Ailment[]
}

const RANK: { readonly [severity in Severity]: number } = { error: 0, warning: 1, info: 2 }
/** What changes Go's roots in the daemon: /etc/ssl/certs is not what it looks like then. */
const ROOT_VARIABLES = /^SSL_CERT_(FILE|DIR)$/

export type DoctorRequest = {
  readonly desired: DesiredState | undefined
  /** What is wrong with the configuration itself. */
  readonly problems: readonly Problem[]
  readonly address: string | undefined
  readonly mounts: readonly MountPoint[]
  /** Where the agent keeps its memory, on the node. */
  readonly stateFolder: string
}

export async function examine(request: DoctorRequest, ports: RunPorts): Promise<DoctorReport> {
  const { desired, problems, address } = request
  const wanted = desired ?? nothingDesired(undefined)
  const ofConfiguration = problems.map((one) => ailment('error', 'configuration', one))
  const seen = await observeRuntime(address, wanted, ports)
  if (seen.state === 'down') {
    const ailments = worstFirst([...ofConfiguration, ...(await withoutContainerd(seen, request, wanted, ports))])
    if (seen.runtime === undefined) return { containerd: null, runtime: null, ailments }
    const { name, version, socket } = seen.runtime
    return { containerd: null, runtime: { name, version, socket }, ailments }
  }
  const { facts, cri } = seen
  try {
    const ailments = worstFirst([...ofConfiguration, ...(await withContainerd(seen, request, wanted, ports))])
    const { version, socket, configFile } = facts
    const runtime = cri === undefined ? null : { name: 'containerd', version, socket }
    return { containerd: { version, socket, configFile }, runtime, ailments }
  } finally {
    cri?.close()
  }
}

async function withoutContainerd(
  { runtime, socket, error }: Extract<Look, { state: 'down' }>,
  request: DoctorRequest,
  wanted: DesiredState,
  ports: RunPorts,
): Promise<readonly Ailment[]> {
  if (runtime !== undefined)
    return [
      ...(await examineCrio(runtime, request.desired, wanted, error, ports)),
      ...notMounted(request, { desired: desiredOnCrio(wanted) }, ports),
      ...(await staleDaemons(ports)),
    ]
  const severity = wantsContainerd(wanted) ? 'error' : 'info'
  return [
    ailment(severity, socket ?? 'containerd', error),
    ...notMounted(request, { desired: wanted }, ports),
    ...(await staleDaemons(ports)),
  ]
}

async function withContainerd(
  { facts, cri }: Extract<Look, { state: 'ready' }>,
  request: DoctorRequest,
  wanted: DesiredState,
  ports: RunPorts,
): Promise<readonly Ailment[]> {
  const { desired, mounts } = request
  const state = await ports.store.load()
  const planned = await makePlan({ desired: wanted, state, facts }, ports)
  const { plan } = planned
  const ailments: Ailment[] = [
    ...daemonAilments(facts),
    ...notMounted(request, { desired: wanted, facts, plan }, ports),
    ...plan.problems.map((one) => ailment('error', 'plan', one)),
    ...plan.warnings.map((one) => ailment('warning', 'anchors', one)),
  ]
  if (desired !== undefined && plan.changes.length > 0)
    ailments.push({
      severity: 'warning',
      where: 'plan',
      what: `${plan.changes.length} paths differ from trust.yaml`,
      remedy: 'Run `registry-trust plan` to see them, `registry-trust apply` to repair them.',
    })
  ailments.push(
    ...withdrawnButTrusted(state, facts).map((one) => told('info', one, RESTART_LATER)),
    ...(await staleDaemons(ports)),
    ...staleSources(desired?.sources ?? [], mounts).map((one) => told('warning', one, MOUNT_THE_FOLDER)),
    ...staleHostsFile(mounts).map((one) => told('warning', one, 'Restart the Pod.')),
  )
  if (plan.restart.required) ailments.push(await restartAilment(plan.restart, wanted, facts, ports))
  for (const { examine } of ports.targets ?? TARGETS)
    ailments.push(...((await examine?.({ desired: wanted, facts, plan }, ports.files)) ?? []))
  const ofRegistries =
    cri === undefined ? rehearsedAilments(wanted, facts, planned, ports) : provedAilments(wanted, cri, ports)
  return [...ailments, ...(await ofRegistries)]
}

function notMounted(
  { address, mounts, stateFolder }: DoctorRequest,
  { desired, facts, plan }: { readonly desired: DesiredState; readonly facts?: ContainerdFacts; readonly plan?: Plan },
  { files, targets }: RunPorts,
): readonly Ailment[] {
  const hasRuntime = address !== NO_RUNTIME
  const { hostPath } = files
  const found = missingMounts({ desired, facts, plan, mounts, hostPath, stateFolder, hasRuntime, targets })
  return found.map(({ path: where, ...one }): Ailment => ({ where, ...one }))
}

async function staleDaemons(ports: RunPorts): Promise<readonly Ailment[]> {
  return (await staleRoots(ports)).map((one): Ailment => ({ severity: 'info', ...one }))
}

type Look =
  | { readonly state: 'ready'; readonly facts: ContainerdFacts; readonly cri: CriClient | undefined }
  | Extract<ObservedContainerd, { state: 'down' }>

/** Without a socket the files are looked at all the same. */
async function observeRuntime(address: string | undefined, { restart }: DesiredState, ports: RunPorts): Promise<Look> {
  if (address !== NO_RUNTIME) return observeContainerd({ address, unit: restart.unit }, ports)
  try {
    return { state: 'ready', facts: await observeWithoutRuntime(restart.unit, ports), cri: undefined }
  } catch (thrown) {
    return { state: 'down', socket: undefined, error: asAgentError(thrown) }
  }
}

async function provedAilments(wanted: DesiredState, cri: CriClient, ports: RunPorts): Promise<readonly Ailment[]> {
  const proofs = await proveDeclared(wanted.registries, cri, ports, wanted)
  return proofs
    .filter(({ finding }) => finding.code !== 'trusted')
    .map((proof) => ailment(isProved(proof) ? 'warning' : 'error', proof.host, proof.finding))
}

async function rehearsedAilments(
  desired: DesiredState,
  facts: ContainerdFacts,
  planned: Planned,
  ports: RunPorts,
): Promise<readonly Ailment[]> {
  const rehearsal = await rehearse(desired, facts, planned, ports, undefined, { always: true })
  if (rehearsal.verdict !== 'passed') {
    const { reason } = rehearsal
    const remedy = 'See the reason: without a socket the rehearsal is the only proof.'
    return [
      { severity: rehearsal.verdict === 'failed' ? 'error' : 'warning', where: 'rehearsal', what: reason, remedy },
    ]
  }
  return rehearsal.proofs
    .filter(({ finding }) => finding.code !== 'trusted')
    .map(({ host, finding }) => ailment(provesTrust(finding.code) ? 'warning' : 'error', host, finding))
}

function ailment(severity: Severity, where: string, { message, remedy }: Pick<Problem, 'message' | 'remedy'>): Ailment {
  return { severity, where, what: message, remedy }
}

const RESTART_LATER = 'Restart containerd when it suits; at once if the certificate was compromised.'
const MOUNT_THE_FOLDER = 'Mount the folder of the file (a whole ConfigMap or Secret), then restart the Pod.'

function told(severity: Severity, { path: where, reason: what }: DriftStatus, remedy: string): Ailment {
  return { severity, where, what, remedy }
}

function worstFirst(ailments: readonly Ailment[]): readonly Ailment[] {
  return ailments.toSorted((a, b) => RANK[a.severity] - RANK[b.severity])
}

function daemonAilments({ process, unit, status, version }: ContainerdFacts): readonly Ailment[] {
  const environment = process?.environment ?? unit?.environment ?? {}
  const roots = Object.entries(environment).filter(([name]) => ROOT_VARIABLES.test(name))
  const deprecations = status.deprecations ?? []
  return [
    ...(status.runtimeReady
      ? []
      : [
          {
            severity: 'error',
            where: 'containerd',
            what: 'RuntimeReady is false',
            remedy: "See containerd's log.",
          } as const,
        ]),
    ...roots.map(
      ([name, value]): Ailment => ({
        severity: 'warning',
        where: 'containerd',
        what: `${name}=${value} is set for the daemon: it does not read /etc/ssl/certs as other programs do`,
        remedy: "Remove the variable from containerd's unit, or keep in mind that system anchors do not reach it.",
      }),
    ),
    ...defectsOf(version).map(
      ({ id, effect, remedy, source }): Ailment => ({
        severity: 'info',
        where: 'containerd',
        what: `known defect of ${version}, ${id}: ${effect} (${source})`,
        remedy,
      }),
    ),
    ...deprecations.map(
      (id): Ailment => ({
        severity: 'info',
        where: 'containerd',
        what: `deprecated: ${id}: ${deprecationOf(id).meaning}`,
        remedy: deprecationOf(id).remedy,
      }),
    ),
  ]
}

async function restartAilment(
  { reason, byHand }: RestartNeed,
  desired: DesiredState,
  facts: ContainerdFacts,
  ports: RunPorts,
): Promise<Ailment> {
  if (byHand !== undefined) return { severity: 'warning', where: 'restart', what: reason, remedy: capitalized(byHand) }
  const way = await chooseRestart(desired.restart, facts, ports)
  if (way.kind === 'none')
    return {
      severity: 'error',
      where: 'restart',
      what: `${reason}; the agent cannot do it: ${way.reason}`,
      remedy: 'Restart containerd by hand after `apply`, or remove the obstacle named.',
    }
  return {
    severity: 'warning',
    where: 'restart',
    what: reason,
    remedy: 'Run `registry-trust apply`: it restarts containerd once.',
  }
}

function capitalized(text: string): string {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}.`
}
