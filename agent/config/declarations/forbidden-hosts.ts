// policy.forbidAnchorsFor: what reaches such a host by a detour. A mirror answers in its place, "*" stands for it too,
// and every program of the node believes an anchor of the system store. A fragment may do none of it; the first
// trust.yaml gets a warning, and is refused with policy.strict.
import { isIP } from 'node:net'
import { type Policy, systemAnchors, type TrustAnchor } from '../../model/desired-state.ts'
import { type Problem, problem } from '../../model/errors.ts'
import { addressBytes } from '../../pki/certificate/addresses.ts'
import { readChainCertificate } from '../../pki/certificate/chain-certificate.ts'
import { constraintViolation } from '../../pki/certificate/name-constraints.ts'
import type { Declarations, DeclaredRegistry } from '../reading/declared.ts'
import { hostName } from '../reading/registry-host.ts'
import { placeText, type Report } from '../reading/report.ts'
import type { LoadedSettings } from './settings.ts'

type Forbidding = Pick<Policy, 'forbidAnchorsFor' | 'strict'>

/** Refused ones are reported, the others returned. */
export function checkDetours(
  { registries }: Pick<Declarations, 'registries'>,
  policy: Forbidding,
  report: Report,
): readonly Problem[] {
  if (policy.forbidAnchorsFor.length === 0) return []
  return registries.flatMap((registry) => [
    ...detourByMirror(registry, policy, report),
    ...detourByWildcard(registry, policy, report),
  ])
}

function detourByMirror(registry: DeclaredRegistry, policy: Forbidding, report: Report): readonly Problem[] {
  const { entry } = registry
  return (entry.mirrors ?? []).flatMap(({ url, anchors = [] }, index) => {
    if (anchors.length === 0) return []
    const mirrorHost = URL.parse(url)?.host ?? ''
    const forbidden = [entry.host, mirrorHost].find((host) => isForbidden(host, policy))
    if (forbidden === undefined) return []
    return tell(registry, `mirrors/${index}/anchors`, `are for a mirror of ${forbidden}`, policy, report)
  })
}

function detourByWildcard(registry: DeclaredRegistry, policy: Forbidding, report: Report): readonly Problem[] {
  const { entry } = registry
  if (entry.host !== '*') return []
  const key = entry.ca === undefined ? 'anchors' : 'ca'
  const isOwn = entry.ca !== undefined || (entry.anchors ?? []).length > 0
  const text = `stand for ${policy.forbidAnchorsFor.join(', ')} too`
  const own = isOwn ? tell(registry, key, text, policy, report) : []
  const mirrors = (entry.mirrors ?? []).flatMap(({ anchors = [] }, index) =>
    anchors.length === 0 ? [] : tell(registry, `mirrors/${index}/anchors`, text, policy, report),
  )
  return [...own, ...mirrors]
}

function tell(
  { file, pointer }: DeclaredRegistry,
  key: string,
  what: string,
  { strict = false }: Forbidding,
  report: Report,
): readonly Problem[] {
  const at = `${pointer}/${key}`
  const text = `${what}: policy.forbidAnchorsFor lists it`
  const place = file.place(at, 'key')
  if (!file.isFragment && !strict)
    return [problem('ANCHOR_REACHES_FORBIDDEN', `${placeText(place)}: ${file.subject(at)} ${text}`)]
  report.add('ANCHOR_FORBIDDEN', place, file.subject(at), text)
  return []
}

/** Names of one registry: whoever answers for one of them answers for the others. */
const ALIASES: { readonly [host: string]: string } = {
  'registry-1.docker.io': 'docker.io',
  'index.docker.io': 'docker.io',
}

/** With a port or without one, and under each name of the registry. */
export function isForbidden(host: string, { forbidAnchorsFor }: Pick<Policy, 'forbidAnchorsFor'>): boolean {
  const given = host.toLowerCase()
  const same = (name: string) => ALIASES[name] ?? name
  const names = [same(given), same(hostName(given))]
  return forbidAnchorsFor.some((name) => names.includes(same(name)))
}

/** One sentence for all anchors of the system store that could certify a forbidden host. */
export function checkSystemStore(
  anchors: readonly TrustAnchor[],
  declarations: Declarations,
  { policy, targets }: Pick<LoadedSettings, 'policy' | 'targets'>,
  report: Report,
): readonly Problem[] {
  const { forbidAnchorsFor, strict = false } = policy
  if (targets.systemTrust.enabled === 'off' || forbidAnchorsFor.length === 0) return []
  const reaching = systemAnchors({ anchors }).flatMap((anchor) => {
    const hosts = forbidAnchorsFor.filter((host) => anchor.certificates.some(({ pem }) => mayCertify(pem, host)))
    return hosts.length === 0 ? [] : [{ anchor, hosts }]
  })
  if (reaching.length === 0) return []
  if (!strict) {
    const names = reaching.map(({ anchor }) => anchor.name)
    const more = names.length > 10 ? ` and ${names.length - 10} more` : ''
    const hosts = [...new Set(reaching.flatMap((one) => one.hosts))].slice(0, 10).join(', ')
    const text = `${names.slice(0, 10).join(', ')}${more}: trusted by every program of the node, and no name constraint excludes ${hosts}, which policy.forbidAnchorsFor lists`
    return [problem('ANCHOR_REACHES_FORBIDDEN', text)]
  }
  for (const { anchor, hosts } of reaching) refuse(anchor, hosts, declarations, report)
  return []
}

function refuse(
  { name, source }: TrustAnchor,
  hosts: readonly string[],
  { anchors, registries }: Declarations,
  report: Report,
) {
  const text = `enters the system store, and no name constraint excludes ${hosts.slice(0, 10).join(', ')}: policy.forbidAnchorsFor lists it`
  const declared = anchors.find((one) => one.name === name)
  const user = registries.find(({ entry }) => entry.ca !== undefined && source.endsWith(entry.ca))
  const where = declared ?? user
  if (where === undefined) return
  report.add('ANCHOR_FORBIDDEN', where.place, where.file.subject(where.pointer), text)
}

/** docker.io is asked under another name. */
const SERVERS: { readonly [host: string]: string } = { 'docker.io': 'registry-1.docker.io' }

/**
 * Go's rule of name constraints (crypto/x509, verify.go): what they exclude, or do not permit, the CA cannot certify.
 */
function mayCertify(pem: string, forbidden: string): boolean {
  const read = readChainCertificate(Buffer.from(pem.replace(/-----[^-]+-----/g, ''), 'base64'))
  const constraints = read.ok ? read.certificate.nameConstraints : undefined
  if (constraints === undefined) return true
  const host = hostName(SERVERS[forbidden] ?? forbidden).replace(/^\[|\]$/g, '')
  const none = { dns: [], addresses: [], emails: [], uris: [] }
  const names =
    isIP(host) === 0
      ? { ...none, dns: [host] }
      : { ...none, addresses: [addressBytes(host)].filter((one) => one !== undefined) }
  return constraintViolation(names, constraints) === undefined
}
