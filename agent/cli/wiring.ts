// What a command is handed by main.ts: the options, the ports, and where to write. Commands read neither argv nor env.
// This room: the command line: what a command is handed, its exit codes, and one thin file per command in commands/.
// Begin here; then command-line/flags.ts (what can be asked), commands/ (who answers), output/ (the words).
// May touch: standard output through `print`; argv and the environment are read by agent/main.ts alone.

import type { LoadConfig } from '../config/load.ts'
import type { ClusterApi } from '../model/cluster.ts'
import type {
  FragmentStore,
  GrantStore,
  InputFiles,
  Log,
  Mounts,
  NodeFiles,
  OutputFile,
  RememberedFiles,
  RuntimePulse,
  UnitLog,
  Watcher,
} from '../model/ports.ts'
import type { RunPorts } from '../model/run-ports.ts'
import type { WatchRecords } from '../sidecar/guardian.ts'
import type { LogLevels } from '../telemetry/log-level.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { Options } from './command-line/args.ts'
import type { Paint } from './output/terminal.ts'

export type Wiring = {
  readonly options: Options
  readonly version: string
  readonly node: string
  readonly ports: RunPorts
  readonly files: NodeFiles
  readonly remembered: RememberedFiles
  readonly inputs: InputFiles
  readonly watcher: Watcher
  readonly nodeWatcher: Watcher
  /** Of restarts. */
  readonly watchRecords: WatchRecords
  readonly mounts: Mounts
  readonly pulse: RuntimePulse
  readonly grants: GrantStore
  readonly log: Log
  readonly levels: LogLevels
  /** Loads its library only then: no other command speaks to the API server. */
  readonly connectCluster: () => Promise<ClusterApi>
  readonly loadConfig: LoadConfig
  readonly fragments: FragmentStore
  /** Loads its library only then: the short commands have no metrics. */
  readonly createMetrics: () => Promise<Metrics>
  readonly paint: Paint
  /** Standard output: the command's answer and nothing else. */
  readonly print: (text: string) => void
  /** Standard error: what a person reads beside an answer that is not text. */
  readonly note: (text: string) => void
  readonly printBytes: (bytes: Buffer) => void
  readonly outputFile: OutputFile
  /** From here on memory is worth more than time. */
  readonly keepHeapSmall: () => void
  readonly unitLog: UnitLog
  /** The terminal that standard output goes to; undefined: it goes to none. */
  readonly screen?: { columns(): number; rows(): number } | undefined
  /** Aborted by SIGTERM or SIGINT. */
  readonly signal: AbortSignal
}

/** What a sidecar is handed: the less it has, the less a fault of it can do. */
export type SidecarWiring<Port extends keyof RunPorts> = Pick<Wiring, 'options' | 'log' | 'loadConfig' | 'signal'> & {
  readonly ports: Pick<RunPorts, 'clock' | Port>
}
