// `doctor`: everything on this node that is wrong or will be, worst first. Reads, and asks each declared registry once;
// where the agent runs in a Pod, also what that Pod lacks for what trust.yaml asks.

import { readContainerdConfig } from '../containerd/config/read.ts'
import { CRICTL_FILE, CRICTL_KEYS, crictlEndpointOf, isSameSocket } from '../containerd/crictl.ts'
import { checkTree } from '../containerd/hosts/lookup.ts'
import { withdrawnButTrusted } from '../daemon/advisories.ts'
import { staleHostsFile, staleSources } from '../daemon/mounts.ts'
import type { DesiredState } from '../model/desired-state.ts'
import { nothingDesired } from '../model/desired-state.ts'
import { type AgentError, asAgentError, type Problem } from '../model/errors.ts'
import { provesTrust } from '../model/finding.ts'
import type { ContainerdFacts } from '../model/observed-state.ts'
import { NO_RUNTIME } from '../model/observed-state.ts'
import type { Plan, Planned, RestartNeed } from '../model/plan.ts'
import type { CriClient, MountPoint, NodeFiles } from '../model/ports.ts'
import type { RunPorts } from '../model/run-ports.ts'
import type { DriftStatus } from '../model/status.ts'
import { observeContainerd, observeOffline } from '../reconcile/observe/containerd.ts'
import { readCertsTree } from '../reconcile/observe/host-directories.ts'
import { makePlan } from '../reconcile/plan/plan.ts'
import { proveDeclared } from '../reconcile/prove/prove.ts'
import { isProved } from '../reconcile/prove/pull.ts'
import { rehearse } from '../reconcile/rehearse/rehearse.ts'
import { chooseRestart } from '../reconcile/restart/restart.ts'
import { missingRights } from './missing-mounts.ts'

export type Severity = 'error' | 'warning' | 'info'

export type Ailment = {
  readonly severity: Severity
  /** A file (with line), a registry host, or a part of the node. */
  readonly where: string
  readonly what: string
  readonly remedy: string
}

export type DoctorReport = {
  readonly containerd: { readonly version: string; readonly socket: string; readonly configFile: string } | null
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

export async function examine(
  { desired, problems, address, mounts, stateFolder }: DoctorRequest,
  ports: RunPorts,
): Promise<DoctorReport> {
  const ailments: Ailment[] = problems.map((one) => ailment('error', 'configuration', one))
  const wanted = desired ?? nothingDesired(undefined)
  const rights = (facts?: ContainerdFacts, plan?: Plan) => {
    const hasRuntime = address !== NO_RUNTIME
    const { hostPath } = ports.files
    const found = missingRights({ desired: wanted, facts, plan, mounts, hostPath, stateFolder, hasRuntime })
    return found.map(({ path: where, ...one }): Ailment => ({ where, ...one }))
  }
  const seen = await look(address, wanted, ports)
  if (seen.state === 'down') {
    ailments.push(ailment('error', seen.socket ?? 'containerd', seen.error), ...rights())
    return { containerd: null, ailments: worstFirst(ailments) }
  }
  const { facts, cri } = seen
  try {
    ailments.push(...configAilments(facts), ...daemonAilments(facts), ...(await crictlAilments(facts, ports.files)))
    const state = await ports.store.load()
    const planned = await makePlan({ desired: wanted, state, facts }, ports)
    const { plan } = planned
    ailments.push(
      ...rights(facts, plan),
      ...plan.problems.map((one) => ailment('error', 'plan', one)),
      ...plan.warnings.map((one) => ailment('warning', 'anchors', one)),
    )
    if (desired !== undefined && plan.changes.length > 0)
      ailments.push({
        severity: 'warning',
        where: 'plan',
        what: `${plan.changes.length} paths differ from trust.yaml`,
        remedy: 'Run `registry-trust plan` to see them, `registry-trust apply` to put them right.',
      })
    ailments.push(
      ...withdrawnButTrusted(state, facts).map((one) => told('info', one, RESTART_LATER)),
      ...staleSources(desired?.sources ?? [], mounts).map((one) => told('warning', one, MOUNT_THE_FOLDER)),
      ...staleHostsFile(mounts).map((one) => told('warning', one, 'Restart the Pod.')),
    )
    if (plan.restart.required) ailments.push(await restartAilment(plan.restart, wanted, facts, ports))
    if (plan.certsDirectory !== undefined)
      for (const { severity, path, message, remedy } of checkTree(
        plan.certsDirectory,
        await readCertsTree(plan.certsDirectory, ports.files),
      ))
        ailments.push({ severity, where: path, what: message, remedy })
    if (cri === undefined) ailments.push(...(await rehearsedAilments(wanted, facts, planned, ports)))
    else
      for (const proof of await proveDeclared(wanted.registries, cri, ports, wanted))
        if (proof.finding.code !== 'trusted')
          ailments.push({
            severity: isProved(proof) ? 'warning' : 'error',
            where: proof.host,
            what: proof.finding.message,
            remedy: proof.finding.remedy,
          })
    const { version, socket, configFile } = facts
    return { containerd: { version, socket, configFile }, ailments: worstFirst(ailments) }
  } finally {
    cri?.close()
  }
}

type Look =
  | { readonly state: 'ready'; readonly facts: ContainerdFacts; readonly cri: CriClient | undefined }
  | { readonly state: 'down'; readonly socket: string | undefined; readonly error: AgentError }

/** Without a socket the files are looked at all the same. */
async function look(address: string | undefined, { restart }: DesiredState, ports: RunPorts): Promise<Look> {
  if (address !== NO_RUNTIME) return observeContainerd({ address, unit: restart.unit }, ports)
  try {
    return { state: 'ready', facts: await observeOffline(restart.unit, ports), cri: undefined }
  } catch (thrown) {
    return { state: 'down', socket: undefined, error: asAgentError(thrown) }
  }
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
    const remedy = 'Read the reason: without a socket the rehearsal is the only proof there is.'
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

function configAilments({ config, configFile, version }: ContainerdFacts): readonly Ailment[] {
  if (config.kind !== 'file') return []
  try {
    const read = readContainerdConfig(config.bytes, { path: configFile })
    const ignored = read.ignored.map(
      ({ table, reason }): Ailment => ({
        severity: 'error',
        where: configFile,
        what: `containerd ${version} ignores [${table}]: ${reason}`,
        remedy: 'Move the settings to the table of this version, or correct the version line.',
      }),
    )
    const noVersion: readonly Ailment[] =
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
    return [ailment('error', configFile, asAgentError(thrown))]
  }
}

function daemonAilments({ process, unit, status }: ContainerdFacts): readonly Ailment[] {
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
            remedy: "Look at containerd's log.",
          } as const,
        ]),
    ...roots.map(
      ([name, value]): Ailment => ({
        severity: 'warning',
        where: 'containerd',
        what: `${name}=${value} is set for the daemon: it does not read /etc/ssl/certs as other programs do`,
        remedy: "Take the variable out of containerd's unit, or keep in mind that system anchors do not reach it.",
      }),
    ),
    ...deprecations.map(
      (id): Ailment => ({
        severity: 'info',
        where: 'containerd',
        what: `deprecated: ${id}`,
        remedy: 'Run `registry-trust migrate` before upgrading containerd.',
      }),
    ),
  ]
}

/** Pods do not care, but whoever looks for the cause of a failed pull with crictl would look at another runtime. */
async function crictlAilments({ socket }: ContainerdFacts, files: NodeFiles): Promise<readonly Ailment[]> {
  const state = await files.readFollowing(CRICTL_FILE)
  if (state.kind !== 'file') return []
  const text = state.bytes.toString('utf8')
  const remedy = `Set it to unix://${socket}, or let the agent do it with targets.crictl.enabled: true.`
  const finding = (severity: Severity, what: string): Ailment => ({ severity, where: CRICTL_FILE, what, remedy })
  return CRICTL_KEYS.flatMap((key) => {
    const named = crictlEndpointOf(text, key)
    // Without one of its own, images are asked at the runtime's.
    if (named === undefined && key === 'image-endpoint') return []
    if (named === undefined)
      return [finding('info', `names no ${key}: crictl tries well-known sockets one after another`)]
    if (isSameSocket(named, socket)) return []
    return [finding('warning', `${key} names ${named}, but CRI of this node answers on ${socket}`)]
  })
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
      remedy: 'Restart containerd by hand after `apply`, or make the way free that is named.',
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
