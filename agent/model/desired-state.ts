// What the configuration asks for, decoded and validated: plain values, no I/O.
// This room: plain values that every other folder shares, the errors, and the interfaces of the rim.
// Begin here; then observed-state.ts (what is), plan.ts (what would change), target.ts and ports.ts (who does it),
// errors.ts and finding.ts (every code with its remedy), status.ts and verdict.ts (what is shown, and how bad it is).
// May touch: nothing; it imports from no other room.
import type { Publication } from './cluster.ts'
import type { Problem } from './errors.ts'
import type { FleetSettings } from './fleet.ts'
import type { LogLevel } from './log-level.ts'
import { anchorNamed } from './lookup.ts'
import type { TargetName } from './plan.ts'
import type { Secret } from './secret.ts'

export type Certificate = {
  /** One PEM block, LF line ends, final newline: what is written to the node. */
  readonly pem: string
  /** `sha256:` and the lower-case hex digest of the DER. */
  readonly fingerprint: string
  readonly subject: string
  readonly issuer: string
  /** RFC 3339, UTC. */
  readonly notBefore: string
  readonly notAfter: string
  readonly isCa: boolean
  readonly isSelfSigned: boolean
}

/** On which nodes something counts: all that is given must hold. */
export type Condition = {
  /** Patterns with * and ?; one must match. */
  readonly nodes?: readonly string[]
  /** IDs of os-release. */
  readonly os?: readonly string[]
  /** In the words of Kubernetes: amd64. */
  readonly arch?: readonly string[]
  /** `>=1.7 <2.1` */
  readonly containerd?: string
  /** `*`: any value. */
  readonly labels?: { readonly [key: string]: string }
}

/** What conditions are judged by; what is absent is not known now. */
export type NodeFacts = {
  readonly name?: string
  readonly os?: string
  readonly arch?: string
  readonly containerd?: string
  /** null: the node has none of that name. */
  readonly labels?: { readonly [key: string]: string | null }
  /** Nothing is known of a name that is not in `labels`. */
  readonly hasOtherLabels?: true
}

/** A named set of CA certificates. `certificates` is empty while `problems` says why it cannot be used. */
export type TrustAnchor = {
  readonly when?: Condition
  readonly name: string
  /** Where it came from, for people: `corp-root.pem` or `trust.yaml:4:5 (inline)`. */
  readonly source: string
  readonly certificates: readonly Certificate[]
  /** Absent: `system`. */
  readonly scope?: AnchorScope
  /**
   * Why (a part of) the input was not used. An anchor with problems and no certificates is "held": what it put on the
   * node stays.
   */
  readonly problems: readonly Problem[]
}

/** `system`: trusted by every program of the node; `registries`: for the registries and mirrors that name it alone. */
export type AnchorScope = 'system' | 'registries'

/** The anchors that belong in the trust store of the node. */
export function systemAnchors({ anchors }: Pick<DesiredState, 'anchors'>): readonly TrustAnchor[] {
  return anchors.filter(({ scope }) => scope !== 'registries')
}

/** Certificates that the node should not trust although its distribution ships them. */
export type Distrust = {
  /** `sha256:` and lower-case hex of the DER. */
  readonly fingerprints: readonly string[]
  /** Why a part of the input was not used. While there are any, what was taken out before stays out. */
  readonly problems: readonly Problem[]
}

export type ProofLevel = 'tls' | 'manifest' | 'pull'

export type Proof = {
  /** Image reference that the user named; absent: a tag that does not exist. */
  readonly image?: string
  readonly level: ProofLevel
  readonly everyMs: number
  /** A pull with a login may leave its image on the node, where any Pod may start it without the login. */
  readonly leavesImage?: boolean
}

/** Where the login for proofs is read from, each time it is needed: absolute paths in the agent's own view. */
export type CredentialSource = CredentialFiles & {
  /** The files must lie in this folder, links followed: that of the fragment that names them. */
  readonly within?: string
  /** `HOST[:PORT]`: may get the login besides the registry itself; its token service, its mirrors. */
  readonly hosts?: readonly string[]
}

type CredentialFiles =
  | { readonly kind: 'docker-config'; readonly path: string }
  | { readonly kind: 'password'; readonly usernamePath: string; readonly passwordPath: string }
  /** A service account token as the password (OpenShift); the user name does not matter there. */
  | { readonly kind: 'token'; readonly usernamePath?: string; readonly tokenPath: string }

const CAPABILITIES = ['pull', 'resolve', 'push'] as const
export type Capability = (typeof CAPABILITIES)[number]

/** An endpoint that is asked before the registry itself. */
export type Mirror = {
  /** `https://HOST[:PORT][/PATH]` */
  readonly url: string
  readonly anchors: readonly string[]
  readonly capabilities: readonly Capability[]
  /** The path of `url` stands in place of /v2. */
  readonly overridePath: boolean
  readonly headers?: Headers
  readonly extra?: Extra
}

/** Keys of hosts.toml that have no name in trust.yaml, by their name there; numbers are whole. */
export type Extra = { readonly [key: string]: string | number | boolean | readonly string[] }

/** Sent with every request to the endpoint; none of them is a credential. */
export type Headers = { readonly [name: string]: string }

/** Written beside hosts.toml for root alone; the key goes nowhere else. */
export type ClientCertificate = {
  /** PEM, the leaf first. */
  readonly certificate: string
  readonly key: Secret
  /** Of the leaf: `sha256:` and the hex digest of the DER. */
  readonly fingerprint: string
}

export type Registry = {
  /** `host` or `host:port`, as in an image reference. */
  readonly host: string
  /** Names of anchors, in the order declared. */
  readonly anchors: readonly string[]
  readonly proof: Proof
  /** For proofs alone; never written to the node. */
  readonly credentials?: CredentialSource
  /** Where it was declared, for messages: `trust.yaml:3:5`. */
  readonly source: string
  /** In the order in which they are asked. */
  readonly mirrors?: readonly Mirror[]
  /** The mirrors alone are asked, never the registry itself. */
  readonly noFallback?: boolean
  readonly skipVerify?: boolean
  readonly plainHttp?: boolean
  readonly headers?: Headers
  readonly extra?: Extra
  readonly clientCertificate?: ClientCertificate
  /** What the hosts file of the node should say about the name: IPv4 and IPv6, in one spelling each. */
  readonly addresses?: readonly string[]
  readonly when?: Condition
  /** Why its input cannot be used now: what it put on the node stays. */
  readonly problems?: readonly Problem[]
}

export type Switch = 'auto' | 'on' | 'off'

export type TargetSettings = { readonly enabled: Switch; readonly when?: Condition }

export type RestartStrategy = 'auto' | 'systemd' | 'signal' | 'never'

export const WEEKDAYS = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'] as const
export type Weekday = (typeof WEEKDAYS)[number]

/** When a restart is welcome. `from` and `to` are `HH:MM`; a window that ends before it begins goes over midnight. */
export type MaintenanceWindow = {
  /** The days on which it begins. */
  readonly days: readonly Weekday[]
  readonly from: string
  readonly to: string
  /** IANA name, e.g. Europe/Berlin. */
  readonly timeZone: string
}

export type RestartSettings = {
  readonly when?: Condition
  readonly strategy: RestartStrategy
  /** fleet: a restart waits for a grant of the fleet component; absent: local. */
  readonly permit?: 'local' | 'fleet'
  /** Unit name; `auto`: found from the socket's process. */
  readonly unit: string
  readonly maxPerHour: number
  readonly backoffMinMs: number
  readonly backoffMaxMs: number
  readonly window?: MaintenanceWindow
}

export type Policy = {
  readonly allowSkipVerify: boolean
  readonly allowPlainHttp: boolean
  readonly allowWildcard: boolean
  readonly forbidAnchorsFor: readonly string[]
  readonly minRsaBits: number
  /** What reaches a forbidden host by a detour is refused, not only reported. Absent: false. */
  readonly strict?: boolean
  /** `sha256:` and lower-case hex; absent: any. */
  readonly allowedAnchors?: readonly string[]
  readonly maxAnchors?: number
  /** By file name, `*` for the others; absent: no bounds. */
  readonly fragments?: { readonly [name: string]: FragmentRule }
}

/** What the author of one fragment may declare. */
export type FragmentRule = {
  readonly hosts?: readonly string[]
  readonly anchors?: 'none' | 'registries' | 'system'
  /** It may give its registries `addresses`. */
  readonly addresses?: boolean
}

export type DesiredState = {
  readonly mode: 'enforce' | 'audit'
  /** First 12 hex digits of the SHA-256 over everything that decides what is written to the node. */
  readonly generation: string
  /** Files the state was read from, for status. */
  readonly sources: readonly string[]
  readonly anchors: readonly TrustAnchor[]
  readonly registries: readonly Registry[]
  /** Declared for `*`: every host without a folder of its own. It cannot be proved: it names no host. */
  readonly wildcard?: Registry
  /** Absent: every root of the distribution is trusted. */
  readonly distrust?: Distrust
  /** ConfigMaps of the cluster that get the anchors; for `publish` alone. */
  readonly publish?: readonly Publication[]
  readonly targets: {
    readonly systemTrust: TargetSettings & { readonly fileName: string }
    readonly containerd: TargetSettings & { readonly layout: 'auto' | 'hosts' | 'legacy' }
    readonly docker: TargetSettings
    readonly containers: TargetSettings
    readonly k3s: TargetSettings
    readonly crictl: TargetSettings
    readonly hostsFile: TargetSettings
  }
  /** Targets that stay as they are, because it is not known now whether they count on this node. */
  readonly frozen?: readonly TargetName[]
  /** HOST/PATH[:TAG][@DIGEST]: what containerd starts each Pod's sandbox from; absent: as it is. */
  readonly sandboxImage?: string
  /** The image is not on the node yet: what is set in config.toml stays as it is. */
  readonly isSandboxImageHeld?: boolean
  readonly restart: RestartSettings
  readonly policy: Policy
  readonly drift: {
    readonly resyncMs: number
    readonly heal: boolean
    readonly stopAfterFights: number
    /** A change is taken up within this time, evenly over the nodes; absent: at once. */
    readonly spreadMs?: number
  }
  /** For the fleet component alone; absent: DEFAULT_FLEET. */
  readonly fleet?: FleetSettings
  /** What the policy finds worth telling, and does not refuse. */
  readonly warnings?: readonly Problem[]
  /** Of the daemon's log; absent: the command line decides. */
  readonly logLevel?: LogLevel
}

/**
 * Nothing is wanted: what uninstalling reconciles to. Restart settings of the configuration in force are kept where
 * there is one.
 */
export function nothingDesired(like: DesiredState | undefined): DesiredState {
  const base = like ?? DEFAULTS
  const { wildcard: _, distrust: __, sandboxImage: ___, ...rest } = base
  const targets = { ...base.targets, crictl: { enabled: 'off' as const } }
  return { ...rest, targets, mode: 'enforce', generation: 'uninstalled', anchors: [], registries: [] }
}

const DEFAULTS: DesiredState = {
  mode: 'enforce',
  generation: '',
  sources: [],
  anchors: [],
  registries: [],
  targets: {
    systemTrust: { enabled: 'auto', fileName: '{name}.pem' },
    containerd: { enabled: 'auto', layout: 'auto' },
    docker: { enabled: 'auto' },
    containers: { enabled: 'auto' },
    k3s: { enabled: 'auto' },
    crictl: { enabled: 'off' },
    hostsFile: { enabled: 'on' },
  },
  restart: { strategy: 'auto', unit: 'auto', maxPerHour: 3, backoffMinMs: 60_000, backoffMaxMs: 1_800_000 },
  policy: {
    allowSkipVerify: false,
    allowPlainHttp: false,
    allowWildcard: false,
    forbidAnchorsFor: ['docker.io'],
    minRsaBits: 2048,
  },
  drift: { resyncMs: 300_000, heal: true, stopAfterFights: 5 },
}

/** The anchors of one registry, resolved; `held` when one of them has no usable certificate now. */
export type RegistryTrust = { readonly certificates: readonly Certificate[]; readonly held: boolean }

export function trustOf(registry: Registry, desired: DesiredState): RegistryTrust {
  const own = resolve(registry.anchors, desired)
  const isHeld =
    own.held ||
    (registry.problems ?? []).length > 0 ||
    (registry.mirrors ?? []).some(({ anchors }) => resolve(anchors, desired).held)
  return { certificates: own.certificates, held: isHeld }
}

export function trustOfMirror({ anchors }: Mirror, desired: DesiredState): readonly Certificate[] {
  return resolve(anchors, desired).certificates
}

function resolve(names: readonly string[], desired: DesiredState): RegistryTrust {
  const anchors = names.map((name) => anchorNamed(desired.anchors, name))
  const held = anchors.some((anchor) => anchor === undefined || anchor.certificates.length === 0)
  const seen = new Set<string>()
  const certificates = anchors
    .flatMap((anchor) => anchor?.certificates ?? [])
    .filter((certificate) => !seen.has(certificate.fingerprint) && seen.add(certificate.fingerprint))
  return { certificates, held }
}

/** The registry asks for something that containerd does not do by itself. */
export function needsHostFolder(registry: Registry, desired: DesiredState): boolean {
  const { mirrors = [], headers = {}, extra = {}, skipVerify, plainHttp, clientCertificate } = registry
  if (trustOf(registry, desired).certificates.length > 0 || mirrors.length > 0) return true
  if (skipVerify === true || plainHttp === true || clientCertificate !== undefined) return true
  return Object.keys({ ...headers, ...extra }).length > 0
}

/** Without it a containerd that does not answer is not a fault: the node may have none. */
export function wantsContainerd({ targets }: Pick<DesiredState, 'targets'>): boolean {
  return targets.containerd.enabled !== 'off'
}

/** What a place that knows CAs alone cannot say. */
export function asksForMoreThanTrust({
  mirrors = [],
  headers,
  extra,
  clientCertificate,
  skipVerify,
  plainHttp,
}: Registry): boolean {
  if (mirrors.length > 0 || (headers ?? extra) !== undefined || clientCertificate !== undefined) return true
  return skipVerify === true || plainHttp === true
}

/** Every registry that gets a folder in certs.d: the wildcard too. */
export function withWildcard({ registries, wildcard }: DesiredState): readonly Registry[] {
  return wildcard === undefined ? registries : [...registries, wildcard]
}
