// What a run means for a script: the exit codes of `plan` and `apply`, in one place.
import type { DesiredState } from '../model/desired-state.ts'
import type { Run } from '../model/run.ts'
import { isProved } from '../reconcile/prove/pull.ts'

/** 0 nothing to change, 2 changes are due, 1 error. */
export function planExit(run: Run): number {
  if (run.outcome === 'no-containerd' || run.outcome === 'failed' || run.rehearsal?.verdict === 'failed') return 1
  const plan = run.planned?.plan
  if (plan === undefined) return 1
  if (plan.changes.length > 0 || plan.restart.required) return 2
  return plan.problems.length > 0 ? 1 : 0
}

/** See `registry-trust apply --help`. */
export function applyExit(run: Run, desired: Pick<DesiredState, 'anchors' | 'registries'>): number {
  switch (run.outcome) {
    case 'no-containerd':
    case 'refused':
    case 'failed':
      return 1
    case 'rolled-back':
      return 4
    case 'rollback-failed':
      return 5
    case 'deferred':
      return 6
    case 'planned':
      return planExit(run)
    case 'unchanged':
    case 'applied':
      return provedExit(run, desired)
    default:
      throw run.outcome satisfies never
  }
}

/** Broken input is 1 while nothing was changed because of it, and 3 when the rest was applied. */
function provedExit(run: Run, desired: Pick<DesiredState, 'anchors' | 'registries'>): number {
  const isHeld = desired.anchors.some(({ certificates }) => certificates.length === 0)
  const allProved = desired.registries.every(({ host }) =>
    run.proofs.some((proof) => proof.host === host && isProved(proof)),
  )
  const isTold = run.problems.some(({ code }) => code === 'OWNERSHIP_UNSURE')
  if (allProved && !isHeld) return isTold ? 3 : 0
  const wasRefused = run.applied.length === 0 && (run.planned?.plan.problems.length ?? 0) > 0
  return wasRefused ? 1 : 3
}
