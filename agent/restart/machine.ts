// The restart of containerd: what is done next, from what is recorded and what is seen. Pure. The rules: evidence
// decides, not patience. A start under way with the right file is waited for and never replaced; one that ended is
// judged at once; what is not known counts against the new file, never against the old one. config.toml goes back
// first, then containerd. The figure is in docs/reliability.md.
// This room: one restart of containerd from its first record to its end, for the agent and for the restarter.
// Begin here; then driver.ts (who looks and acts), evidence.ts (what is seen), settle.ts (what another left), ledger.ts
// (how often).
// May touch: config.toml, the record, systemd and CRI, all by the ports that it is handed.
import type { RestartEvidence, RestartFailure, RestartRecord } from '../model/restart.ts'

export type Action =
  /** Look again. */
  | { readonly do: 'wait' }
  /** Record this, then look again. */
  | { readonly do: 'record'; readonly change: Partial<RestartRecord> }
  /** Make config.toml the old one; `whole`: without the edits of others that were merged into it. */
  | { readonly do: 'put-back'; readonly whole: boolean }
  /** Record one more command, then give it. */
  | { readonly do: 'restart'; readonly direction: 'forward' | 'back' }
  /** The end. */
  | { readonly do: 'nothing' }

/** Where systemd has no limit for a start (TimeoutStartSec=infinity), or there is no systemd. */
export const LONGEST_START_MS = 10 * 60_000
const LONGEST_SIGNAL_START_MS = 90_000
/** systemd gives ExecStartPre, the daemon and ExecStartPost the limit each. */
const PARTS_OF_A_START = 3
/** A command that was recorded and shows no effect after this long was never given: its driver is gone. */
export const COMMAND_MS = 2_000
/** One that was given and not answered; a busy node, or a restarter that stands still. */
const LONGEST_COMMAND_MS = 60_000
/** From "active" to a CRI that answers, where systemd does not wait for it (Type=simple). */
const LEAST_CRI_MS = 30_000
/** Between two restarts of a containerd that does not start with the old file either. */
const RETRY_MS = 60_000

export function isOver({ phase }: Pick<RestartRecord, 'phase'>): boolean {
  return phase === 'committed' || phase === 'reverted'
}

/** Nothing of config.toml changes, so there is nothing to put back. */
export function isSameFile({ before, after }: Pick<RestartRecord, 'before' | 'after'>): boolean {
  return before === after
}

/**
 * Whether what comes next depends on containerd. Until config.toml is back nothing does, and a systemd or a CRI that
 * hangs does not hold it up.
 */
export function asksDaemon({ phase, putBackAt }: Pick<RestartRecord, 'phase' | 'putBackAt'>): boolean {
  return phase === 'restarting' || phase === 'verifying' || (phase === 'reverting' && putBackAt !== undefined)
}

/** Whether what comes next depends on CRI as well: a containerd that hangs costs each question its whole patience. */
export function asksCri(record: RestartRecord, evidence: Omit<RestartEvidence, 'cri'>): boolean {
  const { state } = evidence.daemon
  const isUp = state === 'running' || state === 'unknown'
  switch (record.phase) {
    case 'restarting':
      return state === 'unknown'
    case 'verifying':
      return isUp
    case 'reverting':
      if (record.starts.back > 0) return isUp || state === 'same'
      return state === 'unknown' || (state === 'running' && hasReadOldFile(record, evidence))
    default:
      return false
  }
}

export function decide(record: RestartRecord, evidence: RestartEvidence): Action {
  switch (record.phase) {
    case 'committed':
    case 'reverted':
      return { do: 'nothing' }
    case 'armed':
      return whileArmed(record, evidence)
    case 'written':
      return revert('RESTART_FAILED', 'the process that changed config.toml ended before containerd was restarted')
    case 'restarting':
      return whileRestarting(record, evidence)
    case 'verifying':
      return whileVerifying(record, evidence)
    case 'reverting':
      return whileReverting(record, evidence)
    default:
      return record.phase satisfies never
  }
}

function whileArmed(record: RestartRecord, { config, isKept, now }: RestartEvidence): Action {
  const action = revert('RESTART_FAILED', 'the process that was to change config.toml ended before it did so')
  // The original is kept before anything is written: without it, whatever differs was written by others and stays.
  const isUntouched = record.before !== null && !isKept && config !== 'after'
  if (!isUntouched || action.do !== 'record') return action
  return { ...action, change: { ...action.change, putBackAt: now } }
}

function whileRestarting(record: RestartRecord, evidence: RestartEvidence): Action {
  const { daemon, cri, now, isSameBoot } = evidence
  if (record.commandedAt === undefined) return { do: 'restart', direction: 'forward' }
  // The node has started anew since: whatever runs has read what lies there.
  const since = isSameBoot ? now - record.commandedAt : now
  switch (daemon.state) {
    case 'same':
      if (mayBeOnItsWay(since, record, evidence)) return wait
      return revert('RESTART_FAILED', `containerd was not restarted: ${daemon.text}`)
    case 'starting':
    case 'stopping':
      return since < startLimit(record, evidence) ? wait : revert('RESTART_FAILED', tooLong(since, daemon.text))
    case 'between':
    case 'ended':
      // It was down before: the command may not have reached systemd yet.
      if (record.daemon.pid === 0 && mayBeOnItsWay(since, record, evidence) && began(evidence) < record.commandedAt)
        return wait
      return revert('RESTART_FAILED', `containerd does not start with the new configuration: ${daemon.text}`)
    case 'running':
      return { do: 'record', change: { phase: 'verifying', runningAt: now } }
    case 'unknown':
      // It is not known what systemd does. A containerd that was down and answers again has read the new file.
      if (cri.state === 'ready' && record.wentDown === true)
        return { do: 'record', change: { phase: 'verifying', runningAt: now } }
      if (cri.state === 'dead') return revert('RESTART_FAILED', cri.text)
      if (cri.state === 'silent' && record.wentDown !== true) return { do: 'record', change: { wentDown: true } }
      if (cri.state === 'ready' && !mayBeOnItsWay(since, record, evidence))
        return revert('RESTART_FAILED', 'containerd was not restarted')
      return since < startLimit(record, evidence) ? wait : revert('RESTART_FAILED', tooLong(since, cri.text))
    default:
      return daemon.state satisfies never
  }
}

function whileVerifying(record: RestartRecord, evidence: RestartEvidence): Action {
  const { daemon, cri, now, isSameBoot } = evidence
  if (daemon.state === 'between' || daemon.state === 'ended' || daemon.state === 'starting')
    return revert('RESTART_FAILED', `containerd ended after its start with the new configuration: ${daemon.text}`)
  if (daemon.state === 'same') return revert('RESTART_FAILED', `containerd was not restarted: ${daemon.text}`)
  // Somebody stops it: what it answers until then says nothing of its next start.
  const state = daemon.state === 'stopping' ? 'silent' : cri.state
  switch (state) {
    case 'ready':
      return { do: 'record', change: { phase: 'committed' } }
    case 'dead':
    case 'worse':
      return revert('RESTART_FAILED', cri.text)
    case 'not-ready':
    case 'silent': {
      const since = isSameBoot ? now - (record.runningAt ?? 0) : now
      const limit = Math.max(LEAST_CRI_MS, Math.min(startLimit(record, evidence), LONGEST_SIGNAL_START_MS))
      return since < limit ? wait : revert('RESTART_FAILED', `the runtime did not come back: ${cri.text}`)
    }
    default:
      return state satisfies never
  }
}

function whileReverting(record: RestartRecord, evidence: RestartEvidence): Action {
  const { config, isKept, daemon } = evidence
  if (record.putBackAt === undefined) {
    if (config === 'before' || isSameFile(record)) return { do: 'record', change: { putBackAt: evidence.now } }
    return { do: 'put-back', whole: false }
  }
  // The original with the edits of others does not start: the original alone did.
  if (config === 'merged' && isKept && record.starts.back > 0 && hasEnded(daemon.state))
    return { do: 'put-back', whole: true }
  return record.starts.back === 0 ? beforeTheWayBack(record, evidence) : onTheWayBack(record, evidence)
}

/** The old file lies there, and no restart with it was commanded: perhaps none is needed, perhaps one is under way. */
function beforeTheWayBack(record: RestartRecord, evidence: RestartEvidence): Action {
  const { daemon, cri, now, isSameBoot } = evidence
  const putBackAt = record.putBackAt ?? now
  const isRightFile = hasReadOldFile(record, evidence)
  const isLate = (isSameBoot ? now - putBackAt : now) > startLimit(record, evidence)
  switch (daemon.state) {
    case 'same':
      return reverted
    case 'stopping':
      return isLate ? back : wait
    case 'starting':
      return isRightFile && !isLate ? wait : back
    case 'running':
      if (!isRightFile || cri.state === 'dead') return back
      if (cri.state === 'ready' || cri.state === 'worse') return reverted
      return isLate ? back : wait
    case 'between':
    case 'ended':
      return back
    case 'unknown':
      if (cri.state === 'ready' || cri.state === 'worse') return reverted
      return isLate ? back : wait
    default:
      return daemon.state satisfies never
  }
}

function hasReadOldFile(record: RestartRecord, evidence: Omit<RestartEvidence, 'cri'>): boolean {
  return isSameFile(record) || began(evidence) > (record.putBackAt ?? evidence.now)
}

function onTheWayBack(record: RestartRecord, evidence: RestartEvidence): Action {
  const { daemon, cri, now, isSameBoot } = evidence
  const since = isSameBoot ? now - (record.commandedAt ?? 0) : now
  switch (daemon.state) {
    case 'stopping':
    case 'starting':
      return since < startLimit(record, evidence) ? wait : stuck(record, tooLong(since, daemon.text))
    case 'running':
    case 'same':
    case 'unknown':
      if (isBefore(since, record, evidence)) return wait
      if (cri.state === 'ready' || cri.state === 'worse') return reverted
      if (cri.state === 'dead') return stuck(record, cri.text)
      return since < startLimit(record, evidence) ? wait : stuck(record, cri.text)
    case 'between':
    case 'ended':
      if (isBefore(since, record, evidence)) return wait
      // After "between" systemd starts it again by itself.
      return daemon.state === 'ended' && since >= RETRY_MS * record.starts.back ? back : stuck(record, daemon.text)
    default:
      return daemon.state satisfies never
  }
}

const wait: Action = { do: 'wait' }
const back: Action = { do: 'restart', direction: 'back' }
const reverted: Action = { do: 'record', change: { phase: 'reverted' } }

function revert(code: RestartFailure['code'], message: string): Action {
  return { do: 'record', change: { phase: 'reverting', failure: { code, message } } }
}

/** Reported once: a caller that waits for the end may stop waiting, and the driver goes on. */
function stuck(record: RestartRecord, why: string): Action {
  if (record.stuck !== undefined) return wait
  const message = `containerd does not start with the old configuration either: ${why}`
  return { do: 'record', change: { stuck: { code: 'RESTART_FAILED', message } } }
}

/** The command may not have reached systemd yet: on a busy node that takes longer than any patience. */
function mayBeOnItsWay(since: number, record: RestartRecord, evidence: RestartEvidence): boolean {
  return since < (evidence.isCommandUnderWay ? Math.min(startLimit(record, evidence), LONGEST_COMMAND_MS) : COMMAND_MS)
}

/** What is seen is of before the last command, and that may be on its way. */
function isBefore(since: number, record: RestartRecord, evidence: RestartEvidence): boolean {
  return evidence.isSameBoot && began(evidence) < (record.commandedAt ?? 0) && mayBeOnItsWay(since, record, evidence)
}

function hasEnded(state: RestartEvidence['daemon']['state']): boolean {
  return state === 'between' || state === 'ended'
}

/**
 * When containerd read its file: in the future, where it is not executed yet; before everything, where that is not
 * known.
 */
function began({ daemon, isSameBoot }: Omit<RestartEvidence, 'cri'>): number {
  if (!isSameBoot || (daemon.state === 'starting' && daemon.beganAt === undefined)) return Number.POSITIVE_INFINITY
  return daemon.beganAt ?? -1
}

/** systemd ends a start itself when its own limit is over; this one is for units without any. */
export function startLimit({ unit }: RestartRecord, { daemon }: RestartEvidence): number {
  if (unit === undefined) return LONGEST_SIGNAL_START_MS
  return daemon.startLimitMs === undefined ? LONGEST_START_MS : daemon.startLimitMs * PARTS_OF_A_START + COMMAND_MS
}

function tooLong(ms: number, text: string): string {
  return `containerd has been starting for ${Math.round(ms / 1000)} s: ${text}`
}
