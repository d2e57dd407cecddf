// The text and the JSON of `plan` and `apply`: what changes and why, the rehearsal's verdict, the proofs, what to do.
import type { Change, Plan, Rehearsal } from '../../model/plan.ts'
import type { ProofResult } from '../../model/proof.ts'
import type { Run } from '../../model/run.ts'
import { formatProblems } from './status.ts'
import { type Cell, harmless, type Paint, type Style, table } from './terminal.ts'

/** One row per path; a folder that appears as a whole is shown as its files. */
export type ChangeRow = Pick<Change, 'target' | 'action' | 'path' | 'reason'>

export function changeRows(changes: readonly Change[]): readonly ChangeRow[] {
  return changes.flatMap(({ target, action, path, reason, after }): readonly ChangeRow[] => {
    if (after.kind === 'tree')
      return after.files.map(({ name }) => ({ target, action, path: `${path}/${name}`, reason }))
    if (after.kind === 'absent-tree')
      return after.names.map((name) => ({ target, action, path: `${path}/${name}`, reason }))
    return [{ target, action, path, reason }]
  })
}

export function planJson(run: Run) {
  const plan = run.planned?.plan
  return {
    generation: plan?.generation ?? '',
    changes: changeRows(plan?.changes ?? []),
    restart: plan?.restart ?? { required: false, reason: '' },
    rehearsal: run.rehearsal ?? null,
    findings: run.rehearsal !== undefined && 'proofs' in run.rehearsal ? run.rehearsal.proofs : [],
    problems: run.problems,
    warnings: plan?.warnings ?? [],
  }
}

export function applyJson(run: Run) {
  return {
    outcome: run.outcome,
    generation: run.planned?.plan.generation ?? '',
    changes: changeRows(run.applied),
    restarts: run.restarts,
    restartPending: run.restartPending ?? null,
    rehearsal: run.rehearsal ?? null,
    findings: run.proofs,
    problems: run.problems,
    warnings: run.planned?.plan.warnings ?? [],
  }
}

export function formatPlan(run: Run, paint: Paint): string {
  const plan = run.planned?.plan
  const sections = [
    plan === undefined ? '' : formatChanges(plan, plan.changes, 'would change', paint),
    plan?.restart.required === true ? `restart of containerd needed: ${harmless(plan.restart.reason)}\n` : '',
    formatRehearsal(run.rehearsal, paint),
    formatProblems([...run.problems, ...(plan?.warnings ?? [])], paint),
  ]
  return sections.filter((section) => section !== '').join('\n')
}

const OUTCOME: { readonly [outcome in Run['outcome']]: readonly [Style, string] } = {
  'no-containerd': ['red', 'containerd does not answer; the files that it reads were not changed'],
  planned: ['yellow', 'mode: audit, so nothing was changed'],
  unchanged: ['green', 'nothing to change'],
  applied: ['green', 'applied'],
  deferred: ['yellow', 'applied as far as possible; a restart of containerd is due but not allowed now'],
  refused: ['red', 'refused; nothing was changed'],
  'rolled-back': ['red', 'rolled back; the node is as before'],
  'rollback-failed': ['red', 'the rollback is incomplete: check the node now'],
  failed: ['red', 'failed; the next run undoes what was begun'],
}

export function formatApply(run: Run, paint: Paint): string {
  const plan = run.planned?.plan
  const [style, text] = OUTCOME[run.outcome]
  const sections = [
    plan === undefined || run.applied.length === 0 ? '' : formatChanges(plan, run.applied, 'changed', paint),
    formatRehearsal(run.rehearsal, paint),
    run.restarts
      .map(
        ({ result, durationMs, reason }) =>
          `restart of containerd: ${result} after ${durationMs} ms (${harmless(reason)})\n`,
      )
      .join(''),
    run.restartPending === undefined
      ? ''
      : `restart of containerd is due: ${harmless(plan?.restart.reason ?? '')}\n  not now: ${harmless(run.restartPending)}\n`,
    formatProofs(run.proofs, paint),
    formatProblems([...run.problems, ...(plan?.warnings ?? [])], paint),
    `${paint(style, text)}\n`,
  ]
  return sections.filter((section) => section !== '').join('\n')
}

function formatChanges(plan: Plan, changes: readonly Change[], verb: string, paint: Paint): string {
  const rows = changeRows(changes)
  if (rows.length === 0) return `generation ${plan.generation}: nothing ${verb}\n`
  const cells: Cell[][] = rows.map(({ target, action, path, reason }) => [action, path, target, reason])
  return `generation ${plan.generation}: ${rows.length} ${rows.length === 1 ? 'path' : 'paths'} ${verb}\n${table(cells, { indent: 2, paint })}`
}

function formatRehearsal(rehearsal: Rehearsal | undefined, paint: Paint): string {
  if (rehearsal === undefined || rehearsal.verdict === 'not-needed') return ''
  if (rehearsal.verdict === 'not-rehearsed')
    return `${paint('yellow', 'not rehearsed')}: ${harmless(rehearsal.reason)}\n`
  const time = `${rehearsal.durationMs} ms, by a private copy of the node's containerd`
  if (rehearsal.verdict === 'failed')
    return `${paint('red', 'rehearsal failed')} (${time}): ${harmless(rehearsal.reason)}\n`
  const rows: Cell[][] = rehearsal.proofs.map(({ host, finding }) => [host, finding.code])
  return `rehearsal passed (${time})\n${table(rows, { indent: 2, paint })}`
}

function formatProofs(proofs: readonly ProofResult[], paint: Paint): string {
  if (proofs.length === 0) return ''
  const rows = proofs.map(({ host, finding, level, durationMs }): Cell[] => {
    const isTrusted = finding.code === 'trusted'
    const code: Cell = { text: finding.code, style: isTrusted ? 'green' : 'red' }
    return [host, code, `${level}, ${durationMs} ms`, isTrusted ? '' : finding.message]
  })
  const remedies = proofs
    .filter(({ finding }) => finding.code !== 'trusted')
    .map(({ host, finding }) => `  ${host}: ${finding.remedy}\n`)
  const by = proofs.every((proof) => proof.by === 'tls')
    ? 'TLS handshakes by the agent'
    : "test pulls by the node's containerd"
  return `${by}\n${table(rows, { indent: 2, paint })}${remedies.join('')}`
}
