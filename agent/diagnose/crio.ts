// `doctor` on a node whose runtime is CRI-O: its state, what differs from trust.yaml, and what its pulls say.
import type { DesiredState } from '../model/desired-state.ts'
import type { AgentError } from '../model/errors.ts'
import type { OtherRuntime } from '../model/observed-state.ts'
import type { RunPorts } from '../model/run-ports.ts'
import type { TargetAilment } from '../model/target.ts'
import { isProved } from '../reconcile/prove/pull.ts'
import { desiredOnCrio, proveByRuntime } from '../reconcile/run/beside-crio.ts'
import { planFilesAlone } from '../reconcile/run/files-alone.ts'

/**
 * `configured`: undefined where trust.yaml cannot be read. `error`: what is reported where containerd is wanted by
 * name.
 */
export async function examineCrio(
  runtime: OtherRuntime,
  configured: DesiredState | undefined,
  desired: DesiredState,
  error: AgentError,
  ports: RunPorts,
): Promise<readonly TargetAilment[]> {
  const state = await ports.store.load()
  const options = { address: runtime.socket, byHand: true, consentUnrehearsed: false }
  const { planned } = await planFilesAlone({ desired, state, options, ports, runtime }, error)
  const plan = planned?.plan
  const differs = configured === undefined ? 0 : (plan?.changes.length ?? 0)
  return [
    ...(runtime.status.runtimeReady ? [] : [notReady(runtime)]),
    ...(desired.targets.containerd.enabled === 'on'
      ? [{ severity: 'error' as const, where: runtime.socket, what: error.message, remedy: error.remedy }]
      : []),
    ...(plan?.problems ?? []).map(({ message, remedy }) => ({
      severity: 'error' as const,
      where: 'plan',
      what: message,
      remedy,
    })),
    ...(plan?.warnings ?? []).map(({ message, remedy }) => ({
      severity: 'warning' as const,
      where: 'plan',
      what: message,
      remedy,
    })),
    ...(differs > 0 ? [unapplied(differs)] : []),
    ...(await proofAilments(runtime, desiredOnCrio(desired), ports)),
  ]
}

function notReady({ socket }: OtherRuntime): TargetAilment {
  return { severity: 'error', where: socket, what: 'RuntimeReady is false', remedy: "See CRI-O's log." }
}

function unapplied(paths: number): TargetAilment {
  return {
    severity: 'warning',
    where: 'plan',
    what: `${paths} paths differ from trust.yaml`,
    remedy: 'Run `registry-trust plan` to see them, `registry-trust apply` to repair them.',
  }
}

async function proofAilments(
  runtime: OtherRuntime,
  desired: DesiredState,
  ports: RunPorts,
): Promise<readonly TargetAilment[]> {
  const proofs = await proveByRuntime(desired.registries, runtime, desired, ports)
  return proofs
    .filter(({ finding }) => finding.code !== 'trusted')
    .map((proof) => ({
      severity: isProved(proof) ? 'warning' : 'error',
      where: proof.host,
      what: proof.finding.message,
      remedy: proof.finding.remedy,
    }))
}
