// Which certificate lies under which name in the system store, and in which order files are written so that a
// certificate that stays declared can be found at every moment: before its old file is overwritten, it lies under its
// new name. Pure.
import { type Certificate, type DesiredState, systemAnchors, type TrustAnchor } from '../../model/desired-state.ts'

export type Placement = {
  readonly anchor: string
  readonly certificate: Certificate
  /** As `targets.systemTrust.fileName` says: `corp-2.pem`. */
  readonly fileName: string
}

/**
 * A file of the agent's: the anchor that it was written for, and the certificate that it holds now (`sha256:`), if it
 * holds one.
 */
export type Holding = { readonly anchor: string; readonly fingerprint: string | undefined }

/** Numbers that are tried for a name beside the anchor's own ones. */
const MOST_NUMBERS = 600

/**
 * Each certificate once, under the name of the first anchor that has it: the anchor's own, numbered from the second
 * certificate on.
 */
export function placementsOf(desired: DesiredState): readonly Placement[] {
  if (desired.targets.systemTrust.enabled === 'off') return []
  const seen = new Set<string>()
  const taken = new Set<string>()
  const place = (anchor: TrustAnchor) =>
    anchor.certificates.flatMap((certificate, index) => {
      if (seen.has(certificate.fingerprint)) return []
      seen.add(certificate.fingerprint)
      // An anchor may be called corp-2, as the second certificate of corp is.
      const fileName = numbered(desired, anchor.name, index + 1, (name) => !taken.has(name))
      if (fileName === undefined) return []
      taken.add(fileName)
      return [{ anchor: anchor.name, certificate, fileName }]
    })
  return systemAnchors(desired).flatMap(place)
}

/** The anchor's first name from `first` on that `isFree`. */
function numbered(
  desired: DesiredState,
  anchor: string,
  first: number,
  isFree: (fileName: string) => boolean,
): string | undefined {
  for (let number = first; number < first + MOST_NUMBERS; number += 1) {
    const fileName = fileNameOf(desired, anchor, number)
    if (isFree(fileName)) return fileName
  }
  return undefined
}

function fileNameOf({ targets }: DesiredState, anchor: string, number: number): string {
  return targets.systemTrust.fileName.replace('{name}', number === 1 ? anchor : `${anchor}-${number}`)
}

/** Names that an anchor may fall back to where certificates change places: to be observed before `arrange` is asked. */
export function spareNames(
  wanted: readonly Placement[],
  holdings: ReadonlyMap<string, Holding>,
  desired: DesiredState,
): readonly string[] {
  const isTaken = (name: string) => holdings.has(name) || wanted.some(({ fileName }) => fileName === name)
  return wanted
    .filter((placement) => occupantOf(placement, wanted, holdings) !== undefined)
    .flatMap(({ anchor }) => numbered(desired, anchor, 2, (name) => !isTaken(name)) ?? [])
}

/**
 * The placements in the order in which they are written. Where certificates change places in a circle, one of them gets
 * a name beside the
 * usual ones, and keeps it while its usual one is free.
 */
export function arrange(
  wanted: readonly Placement[],
  holdings: ReadonlyMap<string, Holding>,
  desired: DesiredState,
  isFree: (fileName: string) => boolean,
): readonly Placement[] {
  const claimed = new Set(wanted.map(({ fileName }) => fileName))
  const settled = wanted.map((placement) => atSpareName(placement, holdings, claimed, desired))
  const done: Placement[] = []
  const visited = new Set<Placement>()
  const begun = new Set<Placement>()
  const visit = (placement: Placement): void => {
    if (visited.has(placement)) return
    visited.add(placement)
    begun.add(placement)
    const occupant = occupantOf(placement, settled, holdings)
    const spare = occupant !== undefined && begun.has(occupant) ? spareName(placement) : undefined
    if (occupant !== undefined && spare === undefined) visit(occupant)
    begun.delete(placement)
    done.push(spare === undefined ? placement : { ...placement, fileName: spare })
  }
  const spareName = ({ anchor }: Placement): string | undefined => {
    const isSpare = (name: string) => isFree(name) && !claimed.has(name) && !holdings.has(name)
    const name = numbered(desired, anchor, 2, isSpare)
    if (name !== undefined) claimed.add(name)
    return name
  }
  for (const placement of settled) visit(placement)
  return done
}

/**
 * A certificate that lies under a name beside the usual ones of its anchor stays there while nothing lies under its
 * usual one.
 */
function atSpareName(
  placement: Placement,
  holdings: ReadonlyMap<string, Holding>,
  claimed: ReadonlySet<string>,
  desired: DesiredState,
): Placement {
  const { anchor, certificate, fileName } = placement
  if (holdings.has(fileName)) return placement
  const held = [...holdings].find(
    ([name, holding]) =>
      holding.fingerprint === certificate.fingerprint &&
      holding.anchor === anchor &&
      !claimed.has(name) &&
      numbered(desired, anchor, 2, (candidate) => candidate === name) !== undefined,
  )
  return held === undefined ? placement : { ...placement, fileName: held[0] }
}

/** The other placement whose certificate lies where this one is to be written. */
function occupantOf(
  { fileName, certificate }: Placement,
  placements: readonly Placement[],
  holdings: ReadonlyMap<string, Holding>,
): Placement | undefined {
  const held = holdings.get(fileName)?.fingerprint
  if (held === undefined || held === certificate.fingerprint) return undefined
  return placements.find((other) => other.certificate.fingerprint === held && other.fileName !== fileName)
}
