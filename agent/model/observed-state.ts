// What the node is like now, as far as the plan needs it.
import type { AgentError, Problem } from './errors.ts'
import type { FileState, ProcessInfo, RuntimeStatus, UnitFacts } from './ports.ts'

export type ContainerdFacts = {
  readonly socket: string
  /** As CRI Version tells it, e.g. `1.6.20~ds1` or `v2.1.9`. */
  readonly version: string
  readonly status: RuntimeStatus
  /** The process behind the socket; undefined where /proc does not show it (in a Pod). */
  readonly process: ProcessInfo | undefined
  readonly unit: UnitFacts | undefined
  /** When the daemon started, milliseconds since the epoch; undefined where neither /proc nor systemd shows it. */
  readonly startedAt?: number
  /** The system trust store that the daemon reads once, at its first TLS connection. */
  readonly systemRoots?: SystemRootsFacts
  /** The sandbox (pause) image where it is known and not on the node: no Pod can start before it is pulled. */
  readonly missingSandboxImage: string | undefined
  /** Path of config.toml on the node. */
  readonly configFile: string
  readonly config: FileState
  /** Contents of the files that `imports` names, by path, in the order in which containerd merges them. */
  readonly imports: readonly { readonly path: string; readonly bytes: Buffer }[]
  /** Where such files may come and go. */
  readonly importFolders: readonly string[]
  /** Why one of them cannot be seen: what containerd makes of config.toml is not known then. */
  readonly unseenImport?: Problem
  /** Paths and patterns with which containerd does not start: the rehearsal's copy has to fail on them as well. */
  readonly unloadableImports?: readonly string[]
  readonly layout: string
  /** What config_path is set to where nothing sets it. */
  readonly defaultCertsDirectory: string
  /** The distribution writes config.toml anew at each of its starts: an edit would be lost. */
  readonly isConfigGenerated: boolean
  /** containerd's binary where the distribution keeps one of its own and the unit starts another program. */
  readonly ownBinary?: string
}

export type SystemRootsFacts = {
  /** The bundle file. */
  readonly path: string
  /** Of the bundle or of its folder, whichever is later. Milliseconds since the epoch. */
  readonly changedAt: number
}

export type ObservedContainerd =
  | { readonly state: 'ready'; readonly facts: ContainerdFacts }
  | {
      readonly state: 'down'
      readonly socket: string | undefined
      readonly error: AgentError
      /** Answers in containerd's place. */
      readonly runtime?: OtherRuntime
    }

/** A runtime that is not containerd and by which registries are proved all the same; it is never restarted. */
export type OtherRuntime = {
  /** As CRI Version tells it: `cri-o`. */
  readonly name: string
  readonly version: string
  readonly socket: string
  readonly status: RuntimeStatus
  /** When it last read registries.conf, milliseconds since the epoch; undefined where that is not seen. */
  readonly readAt?: number
  /** It reads registries.conf.d again by itself (`auto_reload_registries`). */
  readonly reloadsItself: boolean
}

/** `--containerd-address none`: the agent is not to touch the runtime, only the files that it reads. */
export const NO_RUNTIME = 'none'
