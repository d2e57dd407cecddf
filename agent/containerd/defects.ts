// Known defects of containerd versions that touch pulls and the sandbox image, each with its source. One table: `doctor`,
// the metric and the checks before an edit read it. Pure.
import { type ContainerdVersion, parseContainerdVersion } from './config/schema-version.ts'

export type Defect = {
  readonly id: string
  /** First version that has it. */
  readonly from: string
  /** First versions without it, one per version line; later lines do not have it. Empty: no release fixes it. */
  readonly fixedIn: readonly string[]
  /** What happens. */
  readonly effect: string
  /** What to do on an affected version. */
  readonly remedy: string
  readonly source: string
}

export const DEFECTS: readonly Defect[] = [
  {
    id: 'hosts-toml-without-host',
    from: '1.5.0',
    fixedIn: ['1.7.32', '2.0.0'],
    effect: 'a hosts.toml with keys at the top level and no [host] table is rejected, and the pull goes on without it',
    remedy: 'End such files with an empty [host] table, as the agent does in its own.',
    source: 'https://github.com/containerd/containerd/pull/10028',
  },
  {
    id: 'hosts-toml-headers-not-at-token-service',
    from: '1.5.0',
    fixedIn: ['2.1.0'],
    effect: 'headers of hosts.toml are not sent with requests for a token',
    remedy: 'Do not rely on a header that the token service needs.',
    source: 'https://github.com/containerd/containerd/pull/11092',
  },
  {
    id: 'config-path-list',
    from: '2.1.0',
    fixedIn: [],
    effect: 'pulls by the transfer service read no folder of a config_path that is a list, not even the first',
    remedy: 'Name one folder in config_path; the agent does so in its edit.',
    source: 'https://github.com/containerd/containerd/issues/12415',
  },
  {
    id: 'mirrors-beside-default-config-path',
    from: '2.2.0',
    fixedIn: ['2.2.2'],
    effect: 'a config.toml with registry.mirrors and without config_path keeps the CRI plugin from loading',
    remedy: 'Move the sections to hosts.toml files before the upgrade: `registry-trust migrate`.',
    source: 'https://github.com/containerd/containerd/pull/12617',
  },
  {
    id: 'sandbox-image-tag-and-digest',
    from: '2.3.0',
    fixedIn: ['2.3.4'],
    effect: 'a sandbox image named by tag and digest is not found, and no Pod starts',
    remedy: 'Name the sandbox image only by its tag or only by its digest, or run 2.3.4.',
    source: 'https://github.com/containerd/containerd/issues/13529',
  },
]

/** Those that this containerd has. `version`: as CRI Version tells it; none are known of one without a number. */
export function defectsOf(version: string): readonly Defect[] {
  const parsed = parseContainerdVersion(version)
  return parsed === undefined ? [] : DEFECTS.filter((defect) => isAffected(parsed, defect))
}

function isAffected(version: ContainerdVersion, { from, fixedIn }: Defect): boolean {
  if (compare(version, numbers(from)) < 0) return false
  const fixes = fixedIn.map(numbers)
  const ofLine = fixes.find(({ major, minor }) => major === version.major && minor === version.minor)
  if (ofLine !== undefined) return compare(version, ofLine) < 0
  // A version line without a fix of its own is fixed only where an earlier line is.
  return !fixes.some((fix) => compare(version, fix) > 0 && isLaterLine(version, fix))
}

function isLaterLine(version: ContainerdVersion, fix: ContainerdVersion): boolean {
  return version.major > fix.major || (version.major === fix.major && version.minor > fix.minor)
}

function numbers(text: string): ContainerdVersion {
  const parsed = parseContainerdVersion(text)
  if (parsed === undefined) throw new Error(`the table of defects has no version ${text}`)
  return parsed
}

function compare(left: ContainerdVersion, right: ContainerdVersion): number {
  return left.major - right.major || left.minor - right.minor || left.patch - right.patch
}

/** Why this image cannot be the sandbox image on this containerd; undefined: it can. */
export function brokenSandboxPin(image: string, version: string): string | undefined {
  const isBoth = /:[^/@]+@sha256:/.test(image)
  const defect = isBoth ? defectsOf(version).find(({ id }) => id === 'sandbox-image-tag-and-digest') : undefined
  return defect === undefined ? undefined : `on containerd ${version} ${defect.effect}. ${defect.remedy}`
}
