// What a run starts from: what an earlier life of the agent left half done is put back, or kept where its restart went
// well without it.
import { asAgentError, type Problem, problem } from '../../model/errors.ts'
import type { TransactionPorts } from '../../model/run-ports.ts'
import { type AgentState, EMPTY_STATE } from '../../model/state.ts'
import { auditedPaths } from './audited-paths.ts'
import { tidy } from './tidy.ts'
import { undoSteps } from './undo.ts'
import { exceptionsOf, failedSteps, undoProblems } from './undo-report.ts'

export type Recovery = {
  readonly state: AgentState
  /** What a person should know of it. */
  readonly problems: readonly Problem[]
  /** containerd may have been restarted with files that have just been put back: it has to load the old ones. */
  readonly mayRunUndone: boolean
}

/** What a run starts from. Never throws: what cannot be repaired is a problem, and the run goes on without it. */
export async function recover(
  ports: TransactionPorts,
  {
    committed,
  }: {
    /** The transaction whose restart went well after its agent had ended: its files stay. */ readonly committed?:
      | string
      | undefined
  } = {},
): Promise<Recovery> {
  const { store, log, clock } = ports
  const problems: Problem[] = []
  const orProblem = async <T>(work: () => Promise<T>, otherwise: T): Promise<T> => {
    try {
      return await work()
    } catch (thrown) {
      const { code, message } = asAgentError(thrown)
      log.error('not-recovered', { code, error: message })
      problems.push(problem(code, message))
      return otherwise
    }
  }
  await orProblem(() => store.sweep(), undefined)
  await orProblem(() => store.setAside(), undefined)
  const entry = await orProblem(() => store.journal.read(), undefined)
  const loaded = await orProblem(() => store.load(), EMPTY_STATE)
  const isRecorded = loaded.transactions.some(({ id, result }) => id === entry?.transaction && result === 'committed')
  const meant = isRecorded || entry?.transaction !== committed ? undefined : entry?.meant
  const isCommitted = isRecorded || meant !== undefined
  const state = meant ?? loaded
  const steps = [...(state.unrestored ?? []), ...(entry === undefined || isCommitted ? [] : entry.steps)]
  // Before: a folder with something left behind in it could not be removed.
  await tidy([...steps, ...(entry?.steps ?? [])], ports)
  const paths = steps.map(({ path }) => path)
  const changes = await auditedPaths(paths, ports.files)
  const report = await undoSteps(steps, ports)
  problems.push(...undoProblems(report))
  const failed = failedSteps(report, steps)
  await tidy(steps, ports)
  const { unrestored: before = [], ...rest } = state
  const next = failed.length === 0 ? rest : { ...rest, unrestored: failed }
  // Saved before the journal goes: what failed is tried again by the next run.
  const isSaved = await orProblem(async () => {
    if (failed.length > 0 || before.length > 0 || meant !== undefined) await store.save(next)
    return true
  }, false)
  if (entry === undefined) return { state: next, mayRunUndone: false, problems }
  if (isSaved) await orProblem(() => store.journal.clear(), undefined)
  const at = new Date(clock.now()).toISOString()
  const told = { transaction: entry.transaction, kept: isCommitted, ...exceptionsOf(report) }
  const line = { at, event: 'recovered', ...told, paths, changes: await changes() }
  await orProblem(() => store.audit(line), undefined)
  log.warn('transaction-recovered', { steps: entry.steps.length, ...told })
  return { state: next, mayRunUndone: entry.restarted && !isCommitted, problems }
}
