// What a registry says beside its anchors: mirrors, fallback, client certificate, and the two ways to be less careful,
// which the policy has to allow. Checked here, turned into values here. Pure, save for the client certificate, which is
// read through the port.
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { parseUrl } from '../../containerd/hosts/endpoint.ts'
import { wrongExtra } from '../../containerd/hosts/extra-keys.ts'
import type { ClientCertificate, Extra, Mirror, Policy, Registry } from '../../model/desired-state.ts'
import { type Problem, problem } from '../../model/errors.ts'
import { Secret } from '../../model/secret.ts'
import { didYouMean } from '../../text/did-you-mean.ts'
import type { DeclaredRegistry } from '../reading/declared.ts'
import type { InputLookup } from '../reading/input-lookup.ts'
import { checkRegistryHost } from '../reading/registry-host.ts'
import { placeText, type Report } from '../reading/report.ts'
import type { MirrorEntry } from '../reading/trust-file.ts'

type EndpointPolicy = Pick<Policy, 'allowSkipVerify' | 'allowPlainHttp'>

export function checkEndpoints(
  registry: DeclaredRegistry,
  knownNames: ReadonlySet<string>,
  policy: EndpointPolicy,
  report: Report,
): void {
  const { entry, file, pointer } = registry
  const refuse = (key: string, text: string, at: 'key' | 'value' = 'value') => {
    const where = `${pointer}/${key}`
    report.add('CONFIG_INVALID', file.place(where, at), file.subject(where), text)
  }
  if (entry.skipVerify === true && !policy.allowSkipVerify)
    refuse('skipVerify', 'is true, which needs policy.allowSkipVerify: true')
  if (entry.plainHttp === true && !policy.allowPlainHttp)
    refuse('plainHttp', 'is true, which needs policy.allowPlainHttp: true')
  if (entry.plainHttp === true && (entry.ca !== undefined || (entry.anchors ?? []).length > 0))
    refuse('plainHttp', 'is true, but anchors are declared: plain HTTP has no certificates')
  const mirrors = entry.mirrors ?? []
  if (entry.fallback === false && mirrors.length === 0)
    refuse('fallback', 'is false, which needs mirrors to be asked instead')
  if (entry.host === '*') {
    for (const key of ['credentials', 'proof', 'clientCertificate'] as const)
      if (entry[key] !== undefined && Object.keys(entry[key]).length > 0)
        refuse(key, 'does not apply to host "*", which names no registry', 'key')
  }
  const checkExtra = (extra: Extra = {}, at: string) => {
    for (const [key, value] of Object.entries(extra)) {
      const wrong = wrongExtra(key, value)
      if (wrong !== undefined) refuse(`${at}extra/${key}`, wrong)
    }
  }
  checkExtra(entry.extra, '')
  mirrors.forEach((mirror, index) => {
    const at = `mirrors/${index}`
    checkExtra(mirror.extra, `${at}/`)
    const wrong = wrongUrl(mirror.url, policy)
    if (wrong !== undefined) refuse(`${at}/url`, wrong)
    // containerd ignores the whole hosts.toml where an address stands in it twice.
    const first = mirrors.findIndex(({ url }) => withoutSlashes(url) === withoutSlashes(mirror.url))
    if (first < index) refuse(`${at}/url`, `names the same address as mirrors[${first}]`)
    mirror.anchors?.forEach((name, which) => {
      if (knownNames.has(name)) return
      const nearby = report.isCrowded ? '' : didYouMean(name, [...knownNames])
      refuse(`${at}/anchors/${which}`, `names the unknown anchor ${name}${nearby}`)
    })
    const isLast = entry.fallback === false && index === mirrors.length - 1
    const { capabilities } = mirror
    if (isLast && capabilities !== undefined && !(capabilities.includes('pull') && capabilities.includes('resolve')))
      refuse(`${at}/capabilities`, 'must hold pull and resolve: without fallback this mirror is asked last')
  })
}

/** In a path (Go, net/url: stringContainsCTLByte, unescape). */
// biome-ignore lint/suspicious/noControlCharactersInRegex: exactly these are refused
const REFUSED_BY_GO = /[\u0000-\u001f\u007f]|%(?![0-9A-Fa-f]{2})/

function wrongUrl(url: string, { allowPlainHttp }: EndpointPolicy): string | undefined {
  if (url.includes('@')) return 'must not hold a user or a password'
  const endpoint = parseUrl(url)
  if (endpoint === undefined || /[?#\s"\\]/.test(url)) return 'must be https://HOST[:PORT][/PATH]'
  if (REFUSED_BY_GO.test(url))
    return (
      'must hold no control character, and "%" only before two hexadecimal digits: ' +
      'containerd would ignore the whole hosts.toml'
    )
  if (endpoint.scheme === 'http' && !allowPlainHttp)
    return 'must begin with https://: plain HTTP needs policy.allowPlainHttp: true'
  return checkRegistryHost(endpoint.host)?.text
}

type EndpointPart = Pick<
  Registry,
  'mirrors' | 'noFallback' | 'skipVerify' | 'plainHttp' | 'headers' | 'extra' | 'clientCertificate' | 'problems'
>

export async function loadEndpoints(declared: DeclaredRegistry, lookup: InputLookup): Promise<EndpointPart> {
  const { mirrors = [], fallback, skipVerify, plainHttp, headers = {}, extra = {}, clientCertificate } = declared.entry
  const client = clientCertificate === undefined ? {} : await loadClient(declared, clientCertificate, lookup)
  return {
    ...(mirrors.length > 0 && { mirrors: mirrors.map(toMirror) }),
    ...(fallback === false && { noFallback: true }),
    ...(skipVerify === true && { skipVerify }),
    ...(plainHttp === true && { plainHttp }),
    ...(Object.keys(headers).length > 0 && { headers }),
    ...(Object.keys(extra).length > 0 && { extra }),
    ...client,
  }
}

function withoutSlashes(url: string): string {
  return url.replace(/\/+$/, '')
}

function toMirror({
  url,
  anchors = [],
  capabilities = ['pull', 'resolve'],
  overridePath = false,
  headers,
  extra = {},
}: MirrorEntry): Mirror {
  return {
    url: withoutSlashes(url),
    anchors,
    capabilities,
    overridePath,
    ...(headers === undefined ? {} : { headers }),
    ...(Object.keys(extra).length === 0 ? {} : { extra }),
  }
}

type Client = { readonly clientCertificate: ClientCertificate } | { readonly problems: readonly Problem[] }

/** A pair that cannot be used holds this registry alone. */
async function loadClient(
  { file, pointer, place }: DeclaredRegistry,
  { certFile, keyFile }: { readonly certFile: string; readonly keyFile: string },
  lookup: InputLookup,
): Promise<Client> {
  const [certificate, key] = [await lookup.find(certFile, file), await lookup.find(keyFile, file)]
  const failed = (text: string): Client => {
    const at = `${placeText(place)}: ${file.subject(pointer)}.clientCertificate`
    return { problems: [problem('CLIENT_CERTIFICATE_UNUSABLE', `${at}: ${text}`)] }
  }
  for (const { path, input } of [certificate, key])
    if (input.kind !== 'file') return failed(`${path} ${input.kind === 'absent' ? 'is not there' : `is ${input.kind}`}`)
  const [certificateText, keyText] = [certificate, key].map(({ input }) =>
    input.kind === 'file' ? input.bytes.toString('utf8') : '',
  )
  let leaf: X509Certificate
  try {
    leaf = new X509Certificate(certificateText ?? '')
  } catch {
    return failed(`${certificate.path} does not begin with a PEM certificate`)
  }
  if ((certificateText ?? '').includes('PRIVATE KEY'))
    return failed(`${certificate.path} holds a private key too: name two files`)
  try {
    if (!leaf.checkPrivateKey(createPrivateKey(keyText ?? '')))
      return failed(`the key in ${key.path} is not that of the certificate in ${certificate.path}`)
  } catch {
    return failed(`${key.path} holds no unencrypted PEM private key`)
  }
  const fingerprint = `sha256:${leaf.fingerprint256.replaceAll(':', '').toLowerCase()}`
  return { clientCertificate: { certificate: certificateText ?? '', key: new Secret(keyText ?? ''), fingerprint } }
}
