// The restart of containerd as a state machine on disk: what is recorded, what is seen, and the port that records it.
// Types alone.
import type { ContainerStart, FileState, ProcessInfo } from './ports.ts'

/**
 * armed: the old config.toml is kept, nothing is written yet; written: the new one is in its place; restarting: a
 * restart was commanded, or
 * is about to be; verifying: a containerd with the new file runs; committed: it stays. reverting: the old file goes
 * back and containerd
 * with it; reverted: done. Each is on disk before it is acted on.
 */
export type RestartPhase = 'armed' | 'written' | 'restarting' | 'verifying' | 'committed' | 'reverting' | 'reverted'

/** Who may drive the machine. */
export type RestartDriver = 'agent' | 'restarter'

export type RestartFailure = { readonly code: string; readonly message: string }

/** What a driver says beside its records: that it lives, whatever the disk does with the record under way. */
export type RestartLease = {
  /** Of the restart that it drives. */
  readonly id: string
  readonly bootId: string
  /** Milliseconds of Clock.monotonic of this boot. */
  readonly leaseUntil: number
}

/**
 * One line of the machine's log; the newest one counts. Times are milliseconds of Clock.monotonic of the boot that is
 * named.
 */
export type RestartRecord = {
  readonly version: 1
  /** The transaction's. */
  readonly id: string
  /** Counts the lines; no two drivers can write the same one. */
  readonly sequence: number
  readonly phase: RestartPhase
  readonly driver: RestartDriver
  /** Until then the driver is taken for alive. */
  readonly leaseUntil: number
  readonly bootId: string
  /** RFC 3339, of the arming. */
  readonly at: string
  readonly reason: string
  /** Absent: containerd is ended by a signal, and a supervisor starts it. */
  readonly unit?: string
  readonly socket: string
  readonly configFile: string
  /** SHA-256 of config.toml before and after; null: no file. The same: nothing of it changes. */
  readonly before: string | null
  readonly after: string | null
  /** What the way back wrote where others had edited the file meanwhile: the original with their edit. */
  readonly merged?: string
  /** The daemon that had loaded the old file; pid 0: not seen. */
  readonly daemon: {
    readonly pid: number
    readonly beganAt?: number
    readonly command?: Pick<ProcessInfo, 'executable' | 'argv'>
  }
  readonly runtime: RuntimeMemory
  /** Commands given, before they are given. */
  readonly starts: { readonly forward: number; readonly back: number }
  readonly commandedAt?: number
  /** When the old file was back. */
  readonly putBackAt?: number
  /** When a containerd with the right file was first seen to run. */
  readonly runningAt?: number
  /** containerd was seen down since the command. */
  readonly wentDown?: boolean
  /** Why it goes, or went, back. */
  readonly failure?: RestartFailure
  /** What others did to config.toml meanwhile, and where it is kept, in sentences. */
  readonly others?: readonly string[]
  /** The old file does not start either, or cannot be put back. */
  readonly stuck?: RestartFailure
}

/** What has to be the same after the restart. */
export type RuntimeMemory = {
  readonly runtimeReady: boolean
  readonly networkReady: boolean
  readonly containers: readonly ContainerStart[]
}

/**
 * same: the daemon of before; running: another one; starting: on its way, by whomever; between: its start ended and
 * systemd waits.
 */
export type DaemonState = 'same' | 'running' | 'starting' | 'stopping' | 'between' | 'ended' | 'unknown'

export type DaemonEvidence = {
  readonly state: DaemonState
  /** In words, for the reason: "ActiveState=failed, Result=exit-code". */
  readonly text: string
  /**
   * When the newest containerd was executed, and so read its file; monotonic. Absent while a start has not come to
   * that, or not known.
   */
  readonly beganAt?: number
  /** How long systemd itself lets a start take; undefined: without a limit. */
  readonly startLimitMs?: number
}

/** dead: it answers UNIMPLEMENTED, which never passes; worse: it runs, and containers are lost. */
export type CriEvidence = {
  readonly state: 'ready' | 'not-ready' | 'silent' | 'dead' | 'worse'
  readonly text: string
  readonly notes?: readonly string[]
}

/** What lies at config.toml: by hash; other: somebody else wrote. */
export type ConfigEvidence = 'before' | 'after' | 'merged' | 'other' | 'unreadable'

export type RestartEvidence = {
  /** Monotonic. */
  readonly now: number
  readonly isSameBoot: boolean
  readonly config: ConfigEvidence
  /** The original lies beside config.toml. */
  readonly isKept: boolean
  /** This driver has given a command that systemd has neither refused nor finished. */
  readonly isCommandUnderWay: boolean
  readonly daemon: DaemonEvidence
  readonly cri: CriEvidence
}

/** One restart of containerd, whoever made it and why. */
export type RestartEntry = {
  /** The machine's record. */
  readonly id: string
  /** RFC 3339. */
  readonly at: string
  readonly bootId: string
  /** Monotonic. */
  readonly uptimeMs: number
  /** back: what saves the node; no limit delays it. */
  readonly kind: 'forward' | 'back'
  readonly by: RestartDriver
  readonly reason: string
  /** Absent: not known, which counts as a failure. */
  readonly result?: 'ok' | 'rolled-back'
}

/** Records, the kept original and the ledger: what both drivers read and write. */
export type RestartStore = {
  readonly bootId: string
  /** The newest record; undefined: there never was one. What is damaged is set aside and the one before it counts. */
  read(): Promise<RestartRecord | undefined>
  /**
   * Writes the record that follows `sequence - 1`; false: somebody else has written one by that number. `durable` waits
   * for the disk.
   * Throws AgentError NO_SPACE, TARGET_READ_ONLY or WRITE_FAILED.
   */
  append(record: RestartRecord, options: { readonly durable: boolean }): Promise<boolean>
  /** Says how long `driver` is to be taken for alive, without waiting for the disk. Throws as `append`. */
  renew(driver: RestartDriver, lease: Omit<RestartLease, 'bootId'>): Promise<void>
  /** Takes back what `renew` has said. Throws as `append`. */
  release(driver: RestartDriver): Promise<void>
  /** What this driver said last; undefined: nothing that could be true. */
  leaseOf(driver: RestartDriver): Promise<RestartLease | undefined>
  /** Gives the original of config.toml a second name beside it. Throws as `append`. */
  keep(configFile: string, after: Buffer | undefined): Promise<void>
  isKept(configFile: string): Promise<boolean>
  /**
   * One rename: inode, owner, mode, ACL, attributes and label are the old ones, and no space is needed. False: it is
   * not kept.
   */
  putBack(configFile: string): Promise<boolean>
  /** There was no file before. */
  remove(configFile: string): Promise<void>
  /** Gives what others wrote a name beside config.toml, which is returned. */
  setAside(configFile: string): Promise<string>
  forget(configFile: string): Promise<void>
  /**
   * Removes what a crash left among the records: half of one, the text of a new config.toml. Only where no restart is
   * under way.
   */
  sweep(): Promise<void>
  /** The original and what the agent made of it, to take its part out of a third text. */
  versions(configFile: string): Promise<{ readonly before: FileState; readonly after: Buffer | undefined }>
  readonly ledger: {
    /** Oldest first; entries older than a week are gone. */
    read(): Promise<readonly RestartEntry[]>
    add(entry: RestartEntry): Promise<void>
    /** How the restarts of this record went. */
    settle(id: string, result: 'ok' | 'rolled-back'): Promise<void>
  }
}
