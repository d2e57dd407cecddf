// The interfaces of the rim: everything the core needs from the node, the clock and the network.
// Implementations live in agent/node/ and are handed in by main.ts.
import type { ClosedGrant } from './fleet.ts'
import type { FileContent } from './plan.ts'
import type { Secret } from './secret.ts'
import type { AgentState, StepRecord } from './state.ts'

export type Clock = {
  /**
   * Wall time, milliseconds since the epoch: for what people read and for certificates. It steps; nothing is waited for
   * by it.
   */
  now(): number
  /**
   * Milliseconds since this boot; never steps, the same for every process of the node (clock_gettime(2),
   * CLOCK_MONOTONIC): for
   * every wait, deadline and duration.
   */
  monotonic(): number
  /** Resolves after `ms`, or rejects with the signal's reason. */
  sleep(ms: number, options?: { signal?: AbortSignal | undefined }): Promise<void>
}

export type LogFields = { readonly [key: string]: unknown }

export type Log = {
  debug(event: string, fields?: LogFields): void
  info(event: string, fields?: LogFields): void
  warn(event: string, fields?: LogFields): void
  error(event: string, fields?: LogFields): void
}

/** What is at a path now; a symbolic link is reported as a link, never followed in the last component. */
export type FileState =
  | {
      readonly kind: 'file'
      readonly bytes: Buffer
      readonly mode: number
      readonly uid: number
      readonly gid: number
      readonly mtimeMs: number
    }
  | { readonly kind: 'link'; readonly to: string }
  | {
      readonly kind: 'folder'
      readonly mode: number
      readonly uid: number
      readonly gid: number
      /** Absent for a folder that is only planned. */
      readonly mtimeMs?: number
    }
  | { readonly kind: 'absent' }
  /** `mtimeMs` of a socket: when its daemon bound it. */
  | { readonly kind: 'other'; readonly what: string; readonly mtimeMs?: number }
  /** Present but not readable, too large (> 16 MiB), or reached through a link that leaves the root. */
  | { readonly kind: 'unreadable'; readonly reason: string }

export type PutOptions = {
  readonly folder: string
  /**
   * Given: a file takes over access list, extended attributes and security label of the file that it replaces, which
   * costs a child process of 2 ms; called with the reason where it could not. For files that others look after too.
   */
  readonly ifAttributesLost?: (reason: string) => void
}

/** The node's file system below --root. All paths are absolute on the node. */
export type NodeFiles = {
  read(path: string): Promise<FileState>
  /** Follows links inside the root: what a program on the node would read. */
  readFollowing(path: string): Promise<FileState>
  /** As `read`. A file that is not whole and was written within the last second is read again, for a second at most. */
  readSettled(path: string, isWhole: (bytes: Buffer) => boolean): Promise<FileState>
  /** Names in a folder, sorted; empty when it does not exist. Throws AgentError when it cannot be read. */
  list(folder: string): Promise<readonly string[]>
  /**
   * True when a file could be created in the folder (it exists, is a folder, is not on a read-only mount). Creates
   * nothing.
   */
  isWritable(folder: string): Promise<boolean>
  /** True when the file, which is not a link, could be written in place. Writes nothing. */
  isFileWritable(path: string): Promise<boolean>
  /**
   * Makes `path` what `content` says: atomically and durably (temporary file in a sub-folder of `folder`, fsync,
   * rename, fsync of
   * the folder). The hosts file is written in place. Missing parent folders below `folder` are an error. Refuses to follow a link out of `folder`. A folder
   * is removed
   * only when it is empty (`absent`). Throws AgentError TARGET_READ_ONLY, NO_SPACE, FILE_OUTSIDE_TARGET,
   * FILE_FOREIGN_OWNER or WRITE_FAILED.
   */
  put(path: string, content: FileContent, options: PutOptions): Promise<void>
  /**
   * Renames a complete new folder into place: readers see all of `files` or none. `path` must be absent or an empty
   * folder.
   */
  putFolder(
    path: string,
    files: readonly { readonly name: string; readonly content: FileContent }[],
    options: { readonly folder: string; readonly mode: number },
  ): Promise<void>
  /** Renames a folder out of sight, then deletes it: readers see all of it or nothing. */
  removeFolder(path: string, options: { readonly folder: string }): Promise<void>
  /**
   * Renames what stands at `path`, whatever it is, to `name` in the same folder, durably; nothing where nothing stands
   * there. Throws as
   * `put` does.
   */
  rename(path: string, name: string, options: { readonly folder: string }): Promise<void>
  /** Removes the temporary sub-folders that `put` made in `folder`, with whatever an earlier crash left there. */
  sweep(folder: string): Promise<void>
  /** Bytes that root can still write on the file system of the path; undefined where that is not known. */
  freeBytes(path: string): Promise<number | undefined>
  /** False in a Pod that mounts neither the path nor a folder above it: then it only looks absent. */
  isSeen(path: string): boolean
  /**
   * Runs `work` with a real path for each name in a folder of the node, which stays open meanwhile: links on the way
   * are resolved below the
   * root, as for every other call. Throws the errno errors of the calls.
   */
  within<Result>(folder: string, work: (entry: (name: string) => string) => Promise<Result>): Promise<Result>
  /** The path in the agent's own view: root joined with the node path. */
  hostPath(path: string): string
}

/** Reads as `NodeFiles`; what has the same identity as when it was read before is not read again. */
export type RememberedFiles = NodeFiles & {
  /** The next reads are of the node itself. */
  forget(): void
  /**
   * Work on the node through these files, and a question that may be asked at any time later: whether everything that
   * the work has read is the same still.
   */
  witnessed<T>(work: (files: NodeFiles) => Promise<T>): Promise<Witnessed<T>>
}

export type Witnessed<T> = { readonly result: T; isSame(): Promise<boolean> }

export type MountPoint = {
  /** In the agent's own view. */
  readonly path: string
  /** What was mounted is not there any more: the mount goes on showing it, and nothing new. */
  readonly isSourceDeleted: boolean
  readonly isReadOnly: boolean
}

/** In the order in which they were mounted; empty where that is not known. */
export type Mounts = () => readonly MountPoint[]

export type RuntimeVersion = { readonly runtimeName: string; readonly runtimeVersion: string }

export type RuntimeStatus = {
  readonly runtimeReady: boolean
  readonly networkReady: boolean
  /** containerd's own deprecation warnings by id; undefined where this version does not report them. */
  readonly deprecations?: readonly string[]
  /** `config_path` as loaded by the daemon; undefined where verbose Status does not tell it. */
  readonly loadedConfigPath?: string
  /** The daemon loaded legacy mirrors or configs. Undefined where verbose Status does not tell. */
  readonly loadedLegacy?: boolean
  /**
   * CA files and client certificates that the loaded legacy sections name. Undefined where verbose Status does not
   * tell.
   */
  readonly loadedTlsFiles?: readonly string[]
  readonly sandboxImage?: string
}

export type ContainerInfo = { readonly id: string; readonly state: string; readonly createdAt: string }

/** What a restart of the runtime would cut short. */
export type RuntimeActivity = {
  /**
   * Content that is being downloaded, one entry a layer or manifest. RFC 3339; `updatedAt` is when its last bytes came.
   */
  readonly downloads: readonly { readonly startedAt: string; readonly updatedAt: string }[]
  /** Created and not started yet: between two calls of the kubelet. */
  readonly created: readonly ContainerInfo[]
}

export type ContainerStart = {
  readonly id: string
  readonly state: string
  readonly startedAt: string
  readonly pid?: number
}

/**
 * Why a CRI call failed: the gRPC status name and the message as sent. `UNAVAILABLE` and `DEADLINE_EXCEEDED` included.
 */
export type CriFailure = { readonly ok: false; readonly status: string; readonly text: string }

export type PullResult = { readonly ok: true; readonly imageRef: string } | CriFailure

/** What a proof logs in with. */
export type RegistryCredentials = (
  | { readonly kind: 'password'; readonly username: string; readonly password: Secret }
  /** An OAuth2 refresh token: the token service gives an access token for it. */
  | { readonly kind: 'identity-token'; readonly username: string; readonly token: Secret }
  /** Sent to the registry as it is. */
  | { readonly kind: 'registry-token'; readonly token: Secret }
) & {
  /** `https://HOST[:PORT]`: containerd sends them there alone, not to mirrors. Absent: to whoever asks for a login. */
  readonly server?: string
}

export type LoginRequest = {
  /** `https://HOST[:PORT]` */
  readonly server: string
  readonly credentials: RegistryCredentials
  /** `HOST[:PORT]` of token services that may get the credentials besides the server itself. */
  readonly tokenHosts: readonly string[]
  /** What the token is asked for: a repository of this registry. */
  readonly repository: string
  /** PEM: exactly these verify the registry and its token service. */
  readonly roots: readonly string[]
}

export type LoginAnswer =
  | { readonly outcome: 'accepted' }
  /** The registry lets everybody in: the credentials were not sent. */
  | { readonly outcome: 'not-asked' }
  /** By the registry or its token service. */
  | { readonly outcome: 'refused'; readonly status: number; readonly by: string }
  /** Says nothing about the credentials: no connection, no verified certificate, a server error. */
  | { readonly outcome: 'failed'; readonly reason: string }

/**
 * Logs in once, over verified TLS only; never throws for what the network does, follows no redirect, repeats nothing.
 */
export type RegistryLogin = { attempt(request: LoginRequest, options: CallOptions): Promise<LoginAnswer> }

export type CriClient = {
  /** Throws AgentError CRI_UNREACHABLE (no socket, nothing listening) or CRI_NOT_LOADED (UNIMPLEMENTED). */
  version(options: CallOptions): Promise<RuntimeVersion>
  status(options: CallOptions): Promise<RuntimeStatus>
  /** Credentials that may be wrong are not to be given here: containerd sends them six times. */
  pullImage(reference: string, options: CallOptions, credentials?: RegistryCredentials): Promise<PullResult>
  /** References with a digest of all images on the node: one question, however many registries are asked for. */
  imageDigests(options: CallOptions): Promise<readonly string[]>
  imageExists(reference: string, options: CallOptions): Promise<boolean>
  /** As in the image's own configuration, e.g. `amd64`; undefined where the runtime does not tell it. */
  imageArchitecture(reference: string, options: CallOptions): Promise<string | undefined>
  runningContainers(options: CallOptions): Promise<readonly ContainerInfo[]>
  containerStart(id: string, options: CallOptions): Promise<ContainerStart>
  activity(options: CallOptions): Promise<RuntimeActivity>
  close(): void
}

export type CallOptions = { readonly timeoutMs: number; readonly signal?: AbortSignal | undefined }

/**
 * Follows the runtime whose socket has this path on the node, and calls back once when it ends, hangs, or answers with
 * an error: `reason` says which. Costs next to nothing meanwhile. Nothing is called back after `close`.
 */
export type RuntimePulse = (socket: string, onLost: (reason: string) => void) => { close(): void }

/** Takes the socket's path on the node; --root is added by the implementation. */
export type CriConnector = (socket: string) => CriClient

/** A process as /proc shows it. */
export type ProcessInfo = {
  readonly pid: number
  /** Path in the process's own mount namespace, without the ` (deleted)` of a file that was replaced. */
  readonly executable: string
  /**
   * The file at `executable` is no longer the one that runs (upgraded since): a restart would start another version.
   */
  readonly executableReplaced?: boolean
  readonly argv: readonly string[]
  /**
   * Only what decides how containerd connects and trusts (proxies, SSL_CERT_*, GODEBUG, PATH, HOME): the rest may be
   * secret.
   */
  readonly environment: { readonly [name: string]: string }
  /** Milliseconds since the epoch, to some hundredths of a second: good for an order, not as an identity. */
  readonly startedAt: number
  /** systemd unit from /proc/PID/cgroup, e.g. containerd.service. */
  readonly unit?: string
}

export type ServiceProcess = Pick<ProcessInfo, 'pid' | 'startedAt' | 'environment'> & {
  readonly name: string
  readonly unit: string
}

export type Processes = {
  /**
   * Processes that listen on a unix socket path (the daemon; shims that inherited it are excluded). Empty when not
   * visible.
   */
  listeningOn(socket: string): Promise<readonly ProcessInfo[]>
  isAlive(pid: number): boolean
  /** Processes of the same program with the same arguments; empty when not visible. */
  runningAs(command: Pick<ProcessInfo, 'executable' | 'argv'>): readonly number[]
  /** Processes of systemd services that have one of these names (proc(5), comm); empty when not visible. */
  ofServices(names: ReadonlySet<string>): readonly ServiceProcess[]
  /** SIGTERM; throws AgentError RESTART_FAILED when not permitted. */
  terminate(pid: number): void
}

export type UnitFacts = {
  readonly name: string
  readonly loadState: string
  readonly activeState: string
  readonly subState: string
  readonly mainPid: number
  readonly killMode: string
  readonly execStart: readonly string[]
  readonly environment: { readonly [name: string]: string }
  readonly restarts: number
  readonly result: string
  /** When its main process was started, milliseconds since the epoch; absent while none runs. */
  readonly startedAt?: number
  /** The same by Clock.monotonic; also of a process that has ended since. */
  readonly executedAt?: number
  /**
   * Of Type=forking alone: when its command was started. systemd learns of the main process, and dates it, only when
   * the command has ended. Milliseconds, CLOCK_MONOTONIC; absent after a reload of systemd.
   */
  readonly forkedAt?: number
  /** When it last went from one state to another, also by a reload; milliseconds since the epoch. */
  readonly changedAt?: number
  /** When systemd had started everything after the boot, by Clock.monotonic; absent: not yet. */
  readonly bootedAt?: number
  /** A job of systemd for the unit is waiting or under way. */
  readonly hasJob: boolean
  /** Exit code or signal of the last main process. */
  readonly exitStatus: number
  /** TimeoutStartUSec; absent: infinity. */
  readonly startLimitMs?: number
  /** Settings of the unit that forbid a restart by us or make a failed one worse, e.g. `RefuseManualStop=yes`. */
  readonly obstacles?: readonly string[]
}

export type JobOutcome = { readonly result: string; readonly durationMs: number }

/** systemd over D-Bus (org.freedesktop.systemd1.Manager). */
export type Systemd = {
  isAvailable(): Promise<boolean>
  /** The socket of the restarter that answers for systemd here; it may be away for a moment. */
  readonly restarter?: string
  unit(name: string): Promise<UnitFacts | undefined>
  /**
   * RestartUnit, awaiting JobRemoved. `machine`: the recorded restart that this one belongs to; the restarter serves no
   * other.
   */
  restart(name: string, options: CallOptions & { readonly machine?: string }): Promise<JobOutcome>
  resetFailed(name: string): Promise<void>
}

/** Runs a private copy of the node's own containerd (the rehearsal). */
export type RehearsalRunner = {
  /** A fresh scratch folder in the agent's own file system, removed by `dispose` of the run. */
  scratch(): Promise<RehearsalScratch>
  /** What `BINARY --version` says, as CRI would: `1.6.20~ds1`. Throws REHEARSAL_UNAVAILABLE when it cannot be run. */
  version(binary: string): Promise<string>
  /**
   * `started: false`: containerd itself refuses the configuration, in its own words. Throws REHEARSAL_UNAVAILABLE when
   * the copy could not
   * be run for a reason that says nothing about the configuration (no binary, no memory, no space, no answer in time).
   */
  start(options: {
    readonly binary: string
    readonly scratch: RehearsalScratch
    readonly environment: { readonly [name: string]: string }
    readonly timeoutMs: number
    readonly signal?: AbortSignal | undefined
  }): Promise<RehearsalDaemon>
}

export type RehearsalScratch = {
  readonly folder: string
  write(relativePath: string, bytes: Buffer): Promise<void>
  dispose(): Promise<void>
}

export type RehearsalDaemon =
  | { readonly started: true; readonly cri: CriClient; stop(): Promise<void> }
  | { readonly started: false; readonly reason: string }

/** Only one agent works on a node. Throws AgentError LOCKED with the holder's pid. */
export type NodeLock = {
  acquire(): Promise<{
    /** `forget`: removes the lock itself and the state folder when it is empty: the end of an uninstallation. */
    release(options?: { readonly forget: boolean }): Promise<void>
  }>
}

/** Whether anything on the node itself speaks against a restart of containerd now. */
export type RestartPermit = {
  ask(request: {
    readonly reason: string
    readonly byHand: boolean
  }): Promise<
    { readonly granted: true; release(): Promise<void> } | { readonly granted: false; readonly reason: string }
  >
}

/** Whether the fleet component grants a restart of this generation; undefined: it does, else why not. */
export type FleetGate = {
  check(generation: string): Promise<string | undefined>
  /** As `check`; a grant that is there is used up by it. */
  take(generation: string): Promise<string | undefined>
}

/** Grants that can never be used again; every write is atomic and durable. */
export type GrantStore = {
  /** Throws AgentError STATE_UNREADABLE. */
  load(): Promise<readonly ClosedGrant[]>
  save(grants: readonly ClosedGrant[]): Promise<void>
}

/** Files mounted into the agent (the configuration), outside --root. */
export type InputFiles = {
  /** Throws AgentError CONFIG_MISSING / ANCHOR_UNREADABLE as given by the caller's code. */
  read(path: string, options: ReadOptions): Promise<InputFile>
  list(folder: string): Promise<readonly string[]>
  /**
   * What a file is known again by, links followed: another text as soon as its bytes may be others. Undefined where
   * that is not known, as of a file that was changed a moment ago. Absent: of no file.
   */
  identity?(path: string): Promise<string | undefined>
}

export type ReadOptions = {
  readonly maxBytes: number
  /** The file that a link leads to must lie in this folder too. */
  readonly within?: string
}

export type InputFile =
  | { readonly kind: 'file'; readonly bytes: Buffer }
  | { readonly kind: 'folder' }
  | { readonly kind: 'absent' }
  | { readonly kind: 'too-large'; readonly bytes: number }
  /** `isOutside`: a link leads out of the folder in which the file must lie. */
  | { readonly kind: 'unreadable'; readonly reason: string; readonly isOutside?: boolean }

/**
 * Creates a file for the person who asked, in the agent's own file system, readable by its owner alone. Throws
 * AgentError WRITE_FAILED, also where something is there already.
 */
export type OutputFile = (path: string, bytes: Buffer) => Promise<void>

/** The newest lines that systemd keeps of a unit; empty where that cannot be asked. */
export type UnitLog = (unit: string, lines: number) => Promise<string>

/** The fragments of the configuration when they were last good, by path. */
export type FragmentStore = {
  /** Empty where nothing is kept, and where what is kept cannot be read. */
  load(): Promise<ReadonlyMap<string, Uint8Array>>
  save(fragments: ReadonlyMap<string, Uint8Array>): Promise<void>
}

/**
 * Runs one piece of work apart from the process, with bounds on memory and time. Never throws; `onNote` gets what it
 * tells meanwhile.
 */
export type ReadingThread = (job: unknown, onNote: (note: unknown) => void) => Promise<ReadingEnd>

export type ReadingEnd =
  | { readonly ok: true; readonly value: unknown }
  /** `reason` reads on after the name of a file: `reading it takes longer than 10 s`. */
  | { readonly ok: false; readonly reason: string }

/** What the program of the thread posts: notes while it works, then one answer. */
export type ThreadMessage = { readonly note: unknown } | { readonly answer: unknown }

/** Tells that something below the watched folders changed: "look again", never what changed. Bursts are one call. */
export type Watcher = {
  watch(folders: readonly { readonly path: string; readonly depth: number }[], onChange: () => void): Watching
}

export type Watching = {
  /** From then on nothing is missed: a caller that looked before has to look once more. */
  readonly ready: Promise<void>
  close(): Promise<void>
}

/**
 * One step of a transaction as it was meant, written before the node is touched: enough to finish or to undo it after a
 * crash.
 */
export type JournalStep = StepRecord

export type JournalEntry = {
  readonly transaction: string
  readonly generation: string
  /** RFC 3339. */
  readonly at: string
  readonly steps: readonly JournalStep[]
  /** A restart of containerd was asked for: what is on disk may be loaded. */
  readonly restarted: boolean
  /** What is remembered where that restart goes well without the agent; absent: the steps are undone in any case. */
  readonly meant?: AgentState
}

/**
 * What the agent remembers on the node, below its state folder: readable by root only, every write atomic and durable.
 */
export type StateStore = {
  /** EMPTY_STATE when there is none; throws AgentError STATE_UNREADABLE when it cannot be understood. */
  load(): Promise<AgentState>
  save(state: AgentState): Promise<void>
  /** Keeps bytes in backup/SHA256 and returns the SHA-256 (hex); the same bytes are kept once. */
  keep(bytes: Buffer): Promise<string>
  /**
   * Throws AgentError STATE_UNREADABLE when they are missing or no longer hash to their name, NODE_FILE_UNREADABLE when
   * that is not known.
   */
  backup(sha256: string): Promise<Buffer>
  /**
   * Keeps what others wrote at `path`, for people; gives the node path of the copy, undefined where it may not be kept.
   * The newest
   * twenty stay.
   */
  keepCopy(path: string, bytes: Buffer): Promise<string | undefined>
  /**
   * Makes usable again what is damaged, by setting it aside as NAME.damaged-TIME: state.json and the journal that
   * cannot be understood,
   * whatever stands in the place of a folder of the agent's. Throws WRITE_FAILED, TARGET_READ_ONLY or NO_SPACE where it
   * cannot.
   */
  setAside(): Promise<void>
  /** Node paths of all that was ever set aside and is there still. */
  damaged(): Promise<readonly string[]>
  /** Removes temporary files that a crash left in the state folder. */
  sweep(): Promise<void>
  /** Removes every backup that is not named. */
  forget(referenced: ReadonlySet<string>): Promise<void>
  /** Removes everything that the agent remembers: the end of an uninstallation. */
  destroy(): Promise<void>
  readonly journal: {
    write(entry: JournalEntry): Promise<void>
    read(): Promise<JournalEntry | undefined>
    clear(): Promise<void>
  }
  /** Appends JSON lines to audit.jsonl in one write, which is rotated at 5 MiB (one older file is kept). */
  audit(...lines: readonly object[]): Promise<void>
}

export type TlsTarget = {
  readonly host: string
  readonly port: number
  /** What to ask for by SNI; null: nothing. Absent: the host, where it is not an address. */
  readonly serverName?: string | null
  /** The HTTP proxy to ask for the connection (CONNECT), as containerd would. */
  readonly proxy?: TlsProxy
}

export type TlsProxy = {
  readonly host: string
  readonly port: number
  /** Value of Proxy-Authorization, where the proxy's address has a user. */
  readonly authorization?: Secret
}

export type TlsFailure = {
  /**
   * proxy: the proxy on the way refused; alert: the server refused in words of TLS, `text` is its name ("protocol
   * version"). not-tls: it answered something else.
   */
  readonly kind: 'dns' | 'refused' | 'timeout' | 'closed' | 'alert' | 'not-tls' | 'protocol' | 'proxy'
  readonly text: string
}

export type HttpAnswer = {
  readonly status: number
  /** Lower-case names. */
  readonly headers: { readonly [name: string]: string }
  /** At most 64 KiB of it. */
  readonly body: Buffer
}

/**
 * What a server shows to a client that verifies nothing and sends no secret: evidence for a diagnosis, never a reason
 * to trust.
 */
export type TlsSight = {
  /** The address that was reached. */
  readonly address: string | undefined
  /** DER, exactly as sent and in that order; also where the handshake failed later. */
  readonly chain: readonly Buffer[]
  readonly protocol: string | undefined
  readonly wantsClientCertificate: boolean
  /** Why there is no connection to speak HTTP over. */
  readonly failure?: TlsFailure
  readonly answer?: HttpAnswer
  /** Why no HTTP answer came over an established connection. */
  readonly answerFailure?: TlsFailure
}

export type TlsLookOptions = CallOptions & {
  /** The GET to send when the handshake is done; its headers must hold no secret of the user. Absent: none is sent. */
  readonly request?: { readonly path: string; readonly headers?: { readonly [name: string]: string } }
  /** Default TLSv1.2, the oldest that containerd speaks. */
  readonly oldestProtocol?: 'TLSv1' | 'TLSv1.2'
  /** Only what the server answers to the request is wanted: the chain is empty, which saves a third of the work. */
  readonly isAnswerOnly?: boolean
}

export type TlsProbe = {
  /** Never throws for what the network does; no session is reused. */
  inspect(target: TlsTarget, options: TlsLookOptions): Promise<TlsSight>
  /**
   * GET of an `http:` address that a certificate names, at most 64 KiB; undefined: no 200. Never from loopback or
   * link-local.
   */
  fetch(url: string, options: CallOptions): Promise<Buffer | undefined>
}
