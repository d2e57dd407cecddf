// The TLS diagnosis of one registry: look at what it shows, judge that as containerd would, and say what is missing. No
// containerd needed, nothing on the node is changed, nothing that was seen is ever trusted.
// This room: the TLS diagnosis of one registry without containerd.
// Begin here; then handshake.ts (one look), failure.ts (no handshake), follow-ups.ts (token service and storage).
// May touch: the network through the port TlsProbe; what was seen is never trusted.
import type { DesiredState, TrustAnchor } from '../model/desired-state.ts'
import { type Finding, finding } from '../model/finding.ts'
import { registryOf } from '../model/lookup.ts'
import type { ChainCertificate } from '../pki/certificate/chain-certificate.ts'
import { withNotes } from '../pki/chain/explain.ts'
import { namesInspectionProduct, sameIssuerElsewhere } from '../pki/chain/interception.ts'
import { rootsOfAnchors, SYSTEM } from '../pki/chain/roots.ts'
import { clockNote } from './failure.ts'
import { followUps, type RelatedFinding } from './follow-ups.ts'
import {
  inspectServer,
  type ProbeOptions,
  type ProbePorts,
  type Seen,
  type ServedCertificate,
  servedCertificate,
  type Trust,
  targetOf,
} from './handshake.ts'

/** Design: the JSON of `probe`. */
export type ProbeReport = {
  readonly host: string
  readonly port: number
  readonly declared: boolean
  /** As served, in that order. */
  readonly chain: readonly ServedCertificate[]
  /** Name of the anchor, `system`, or null. */
  readonly verifiedBy: string | null
  /** The TLS verdict alone. */
  readonly finding: Finding
  /** What HTTP says, and the other hosts that a pull needs: token service, storage. */
  readonly related: readonly RelatedFinding[]
}

/**
 * Trust as containerd has it for this host: the anchors declared for it and the node's store; for an undeclared host,
 * all anchors.
 */
export function trustFor(
  host: string,
  desired: Pick<DesiredState, 'registries' | 'anchors'> | undefined,
  system: readonly ChainCertificate[],
): Trust {
  const registry = registryOf(desired?.registries ?? [], host)
  const isMine = ({ name }: TrustAnchor) => registry === undefined || registry.anchors.includes(name)
  const anchors = desired?.anchors ?? []
  const fromSystem = system.map((certificate) => ({ certificate, origin: SYSTEM }))
  return {
    isDeclared: registry !== undefined,
    roots: [...rootsOfAnchors(anchors.filter(isMine)), ...fromSystem],
    otherAnchors: rootsOfAnchors(anchors.filter((anchor) => !isMine(anchor))),
  }
}

export type ProbeRequest = {
  readonly registry: string
  readonly trust: Trust
  /** An image of this registry, to find where its data comes from. */
  readonly image?: string | undefined
  /** Other declared registries: the same unknown authority there means interception. */
  readonly neighbours?: readonly { readonly registry: string; readonly trust: Trust }[]
}

export async function probeRegistry(
  request: ProbeRequest,
  ports: ProbePorts,
  options: ProbeOptions,
): Promise<ProbeReport> {
  const { registry, trust } = request
  const started = ports.clock.monotonic()
  const left = (): ProbeOptions => ({
    ...options,
    timeoutMs: Math.max(1, Math.floor(options.timeoutMs - (ports.clock.monotonic() - started))),
  })
  const target = targetOf(registry)
  const seen = await inspectServer(registry, trust, ports, left())
  const isTrusted = seen.verdict.code === 'trusted'
  const explained = isTrusted ? seen.verdict : await lookCloser(request, seen, ports, left)
  const note = clockNote(seen.sight.answer, ports.clock.now())
  return {
    host: target.host,
    port: target.port,
    declared: trust.isDeclared,
    chain: seen.sight.chain.map(servedCertificate),
    verifiedBy: isTrusted ? seen.verifiedBy : null,
    finding: note === undefined ? explained : withNotes(explained, [note]),
    related: isTrusted
      ? await followUps({ registry, target, trust, sight: seen.sight, image: request.image }, ports, left)
      : [],
  }
}

/** A second look with another greeting tells more about some faults. */
async function lookCloser(
  request: ProbeRequest,
  seen: Seen,
  ports: ProbePorts,
  left: () => ProbeOptions,
): Promise<Finding> {
  const { registry } = request
  const target = targetOf(registry)
  const again = (how: { readonly serverName?: null; readonly oldestProtocol?: 'TLSv1' }) => {
    const { oldestProtocol, ...name } = how
    return ports.tls.inspect(
      { ...target, ...name },
      { ...left(), request: { path: '/v2/' }, ...(oldestProtocol && { oldestProtocol }) },
    )
  }
  switch (seen.verdict.code) {
    case 'hostname-mismatch':
    case 'no-san': {
      const other = await again({ serverName: null })
      const isSame = other.chain[0] !== undefined && seen.sight.chain[0]?.equals(other.chain[0])
      if (isSame || seen.sight.chain.length === 0) {
        return withNotes(
          seen.verdict,
          isSame
            ? [`the server presents the same certificate for every name: it has none of its own for ${target.host}`]
            : [],
        )
      }
      const [first] = other.chain.map(servedCertificate)
      return first === undefined
        ? seen.verdict
        : withNotes(seen.verdict, [`without SNI the server shows another certificate: ${first.subject}`])
    }
    case 'tls-version': {
      const { protocol } = await again({ oldestProtocol: 'TLSv1' })
      return protocol === undefined ? seen.verdict : withNotes(seen.verdict, [`the server offers ${protocol}`])
    }
    case 'unknown-authority':
      return await suspectInterception(request, seen, ports, left)
    default:
      return seen.verdict
  }
}

const MOST_NEIGHBOURS = 4
const NEIGHBOUR_MS = 3_000

async function suspectInterception(
  { registry, neighbours = [] }: ProbeRequest,
  { verdict, sight, unexpectedIssuer }: Seen,
  ports: ProbePorts,
  left: () => ProbeOptions,
): Promise<Finding> {
  if (unexpectedIssuer === undefined) return verdict
  const options = left()
  const timeoutMs = Math.min(NEIGHBOUR_MS, options.timeoutMs)
  const others = await Promise.all(
    neighbours
      .filter((one) => one.registry !== registry)
      .slice(0, MOST_NEIGHBOURS)
      .map(async (one) => {
        const { unexpectedIssuer: issuer } = await inspectServer(one.registry, one.trust, ports, {
          ...options,
          timeoutMs,
        })
        return { host: targetOf(one.registry).host, issuer: issuer ?? '' }
      }),
  )
  const issuer = sight.chain.map(servedCertificate).at(-1)?.issuer ?? ''
  const twin = sameIssuerElsewhere({ host: targetOf(registry).host, issuer: unexpectedIssuer }, others)
  if (twin !== undefined) {
    const message = `${registry} and ${twin} both show certificates of an undeclared authority, ${issuer}: something in between answers in their place`
    return finding('proxy-interception', message, {
      ...verdict.evidence,
      notes: [...(verdict.evidence.notes ?? []), verdict.message],
    })
  }
  if (!namesInspectionProduct(issuer)) return verdict
  return withNotes(verdict, [
    `the issuer's name is that of a TLS inspection product: a proxy may be answering in place of ${registry}`,
  ])
}
