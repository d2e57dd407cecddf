// `doctor`: everything on this node that is wrong or will be, worst first. Reads, and asks each declared registry once.
import { checkTree } from '../containerd/certs-tree.ts'
import { readContainerdConfig } from '../containerd/config-file.ts'
import type { DesiredState } from '../model/desired-state.ts'
import { nothingDesired } from '../model/desired-state.ts'
import { asAgentError, type Problem } from '../model/errors.ts'
import type { ContainerdFacts } from '../model/observed-state.ts'
import { readCertsTree } from './look.ts'
import { observeContainerd } from './observe.ts'
import { makePlan } from './planning.ts'
import { isProved } from './prove.ts'
import { proveDeclared } from './prove-declared.ts'
import { chooseRestart } from './restart.ts'
import type { RunPorts } from './run.ts'

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
}

export async function examine({ desired, problems, address }: DoctorRequest, ports: RunPorts): Promise<DoctorReport> {
  const ailments: Ailment[] = problems.map((one) => ailment('error', 'configuration', one))
  const wanted = desired ?? nothingDesired(undefined)
  const seen = await observeContainerd({ address, unit: wanted.restart.unit }, ports)
  if (seen.state === 'down') {
    ailments.push(ailment('error', seen.socket ?? 'containerd', seen.error))
    return { containerd: null, ailments: worstFirst(ailments) }
  }
  const { facts, cri } = seen
  try {
    ailments.push(...configAilments(facts), ...daemonAilments(facts))
    const state = await ports.store.load()
    const { plan } = await makePlan({ desired: wanted, state, facts }, ports)
    ailments.push(
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
    if (plan.restart.required) ailments.push(await restartAilment(plan.restart.reason, wanted, facts, ports))
    if (plan.certsDirectory !== undefined)
      for (const { severity, path, message, remedy } of checkTree(
        plan.certsDirectory,
        await readCertsTree(plan.certsDirectory, ports.files),
      ))
        ailments.push({ severity, where: path, what: message, remedy })
    const proofs = await proveDeclared(wanted.registries, cri, ports, wanted)
    for (const proof of proofs)
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
    cri.close()
  }
}

function ailment(severity: Severity, where: string, { message, remedy }: Pick<Problem, 'message' | 'remedy'>): Ailment {
  return { severity, where, what: message, remedy }
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

async function restartAilment(
  reason: string,
  desired: DesiredState,
  facts: ContainerdFacts,
  ports: RunPorts,
): Promise<Ailment> {
  const way = await chooseRestart(desired.restart, facts, ports)
  if (way.kind === 'none')
    return {
      severity: 'error',
      where: 'restart',
      what: `${reason}; the agent can not do it: ${way.reason}`,
      remedy: 'Restart containerd by hand after `apply`, or make the way free that is named.',
    }
  return {
    severity: 'warning',
    where: 'restart',
    what: reason,
    remedy: 'Run `registry-trust apply`: it restarts containerd once.',
  }
}
