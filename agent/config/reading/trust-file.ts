// The shape of trust.yaml after the schema has accepted it, and after the defaults are filled in.
import type {
  AnchorScope,
  Capability,
  Condition,
  Extra,
  FragmentRule,
  Headers,
  ProofLevel,
  RestartStrategy,
  Weekday,
} from '../../model/desired-state.ts'
import type { LogLevel } from '../../model/log-level.ts'

export type AnchorEntry = {
  readonly file?: string
  readonly pem?: string
  readonly passwordFile?: string
  readonly pins?: readonly string[]
  readonly scope?: AnchorScope
  readonly when?: Condition
}

/** One of the two. */
export type DistrustEntry = { readonly fingerprint?: string; readonly file?: string }

export type MirrorEntry = {
  readonly url: string
  readonly anchors?: readonly string[]
  readonly capabilities?: readonly Capability[]
  readonly overridePath?: boolean
  readonly headers?: Headers
  readonly extra?: Extra
}

export type CredentialsEntry = {
  readonly dockerConfigFile?: string
  readonly usernameFile?: string
  readonly passwordFile?: string
  readonly tokenFile?: string
  readonly hosts?: readonly string[]
}

export type RegistryEntry = {
  readonly host: string
  readonly when?: Condition
  readonly ca?: string
  readonly anchors?: readonly string[]
  readonly clientCertificate?: { readonly certFile: string; readonly keyFile: string }
  readonly mirrors?: readonly MirrorEntry[]
  readonly fallback?: boolean
  readonly skipVerify?: boolean
  readonly plainHttp?: boolean
  readonly headers?: Headers
  readonly extra?: Extra
  readonly credentials?: CredentialsEntry
  readonly addresses?: readonly string[]
  readonly proof?: {
    readonly image?: string
    readonly level?: ProofLevel
    readonly every?: string
    readonly leavesImage?: boolean
  }
}

type Enabled = 'auto' | boolean

/** The sections besides anchors and registries, complete. */
export type Settings = {
  readonly mode: 'enforce' | 'audit'
  readonly targets: {
    readonly systemTrust: { readonly when?: Condition; readonly enabled: Enabled; readonly fileName: string }
    readonly containerd: {
      readonly when?: Condition
      readonly enabled: Enabled
      readonly layout: 'auto' | 'hosts' | 'legacy'
    }
    readonly docker: { readonly when?: Condition; readonly enabled: Enabled }
    readonly containers: { readonly when?: Condition; readonly enabled: Enabled }
    readonly k3s: { readonly when?: Condition; readonly enabled: Enabled }
    readonly crictl: { readonly when?: Condition; readonly enabled: boolean }
    readonly hostsFile: { readonly when?: Condition; readonly enabled: boolean }
  }
  readonly containerd: { readonly sandboxImage?: string }
  readonly restart: {
    readonly when?: Condition
    readonly strategy: RestartStrategy
    readonly permit: 'local' | 'fleet'
    readonly unit: string
    readonly budget: { readonly maxPerHour: number; readonly backoff: { readonly min: string; readonly max: string } }
    readonly window?: {
      readonly days?: readonly Weekday[]
      readonly from?: string
      readonly to?: string
      readonly timeZone?: string
    }
  }
  readonly policy: {
    readonly allowSkipVerify: boolean
    readonly allowPlainHttp: boolean
    readonly allowWildcard: boolean
    readonly forbidAnchorsFor: readonly string[]
    readonly minRsaBits: number
    readonly strict: boolean
    readonly allowedAnchors?: readonly string[]
    readonly maxAnchors: number
    readonly fragments?: { readonly [name: string]: FragmentRule }
  }
  readonly drift: {
    readonly resync: string
    readonly heal: boolean
    readonly stopAfterFights: number
    readonly spread?: string
  }
  readonly fleet: {
    readonly touchesPerSecond: number
    readonly startupTaint: 'keep' | 'remove'
    readonly nodeLabels: readonly string[]
    readonly wakePods: boolean
    readonly rollout: {
      readonly canary: number | string
      readonly maxUnavailable: number | string
      readonly soak: string
      readonly haltAfter: number
    }
  }
  readonly log?: { readonly level?: LogLevel }
}
