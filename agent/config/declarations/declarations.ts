// The anchors and registries that the files declare, checked one by one and against each other. Pure; files of anchors
// are not read here.
// This room: what the files declare, section by section: anchors, registries, distrust and the settings.
// Begin here; then endpoints.ts (mirrors), anchors.ts (their certificates), settings.ts (all other sections).
// May touch: files of anchors and logins through the port InputFiles.
import type { Policy } from '../../model/desired-state.ts'
import { didYouMean } from '../../text/did-you-mean.ts'
import { escapePointer } from '../../text/yaml-tree.ts'
import type { ConfigFile } from '../reading/config-file.ts'
import type { Declarations, DeclaredAnchor, DeclaredRegistry } from '../reading/declared.ts'
import { checkProofImage } from '../reading/image-reference.ts'
import { checkDeclaredHost, checkRegistryHost } from '../reading/registry-host.ts'
import { type Place, placeText, type Report } from '../reading/report.ts'
import type { AnchorEntry, RegistryEntry } from '../reading/trust-file.ts'
import { MAX_REGISTRIES } from '../schema/schema.ts'
import { checkAddresses, checkSameAddresses } from './addresses.ts'
import { checkEndpoints } from './endpoints.ts'
import { isForbidden } from './forbidden-hosts.ts'
import { checkFragmentRules } from './fragment-rules.ts'
import { checkDuration } from './settings.ts'

export type DeclarationPolicy = Pick<
  Policy,
  'allowWildcard' | 'forbidAnchorsFor' | 'allowSkipVerify' | 'allowPlainHttp' | 'fragments'
>

export function checkDeclarations(
  files: readonly ConfigFile[],
  policy: DeclarationPolicy,
  report: Report,
): Declarations {
  const anchors = files.flatMap(anchorsOf)
  const registries = files.flatMap(registriesOf)
  for (const anchor of anchors) checkAnchor(anchor, report)
  const knownNames = new Set(files.flatMap((file) => Object.keys(mapAt(file, 'anchors'))))
  for (const registry of registries) checkRegistry(registry, knownNames, policy, report)
  checkDuplicates(registries, report)
  checkSameAddresses(registries, report)
  checkFragmentRules({ anchors, registries }, policy.fragments, report)
  return { anchors, registries }
}

function mapAt(file: ConfigFile, key: string): object {
  const value = file.value[key]
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : {}
}

/** Entries that the schema refuses are reported already and left out here. */
function anchorsOf(file: ConfigFile): readonly DeclaredAnchor[] {
  return Object.entries(mapAt(file, 'anchors')).flatMap(([name, entry]) => {
    const pointer = `/anchors/${escapePointer(name)}`
    if (!file.isSound(pointer)) return []
    return [{ name, entry: entry as AnchorEntry, file, pointer, place: file.place(pointer, 'key') }]
  })
}

function registriesOf(file: ConfigFile): readonly DeclaredRegistry[] {
  const value = file.value['registries']
  if (!Array.isArray(value)) return []
  return value.flatMap((entry: unknown, index) => {
    const pointer = `/registries/${index}`
    // One bad key must not hide what is wrong with the others: the sound ones are checked nevertheless.
    const sound = soundPart(file, pointer, entry)
    if (sound['host'] === undefined) return []
    const proof = soundPart(file, `${pointer}/proof`, sound['proof'])
    const usable = { ...sound, proof } as unknown as RegistryEntry
    return [{ entry: usable, file, pointer, place: file.place(pointer, 'value') }]
  })
}

function soundPart(file: ConfigFile, pointer: string, value: unknown): { readonly [key: string]: unknown } {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return {}
  const keys = Object.entries(value).filter(
    ([key, child]) =>
      file.isSound(`${pointer}/${escapePointer(key)}`) || (key === 'proof' && typeof child === 'object'),
  )
  return Object.fromEntries(keys)
}

function checkAnchor({ entry, file, pointer, place }: DeclaredAnchor, report: Report): void {
  const subject = file.subject(pointer)
  if (entry.file === undefined && entry.pem === undefined) {
    report.add('CONFIG_INVALID', place, subject, 'must have one of the keys file and pem')
  }
  if (entry.file !== undefined && entry.pem !== undefined) {
    report.add(
      'CONFIG_INVALID',
      file.place(`${pointer}/pem`, 'key'),
      subject,
      'must have only one of the keys file and pem',
    )
  }
  if (entry.passwordFile !== undefined && entry.file === undefined) {
    const text = 'is for a PKCS#12 store and needs the key file beside it'
    report.add(
      'CONFIG_INVALID',
      file.place(`${pointer}/passwordFile`, 'key'),
      file.subject(`${pointer}/passwordFile`),
      text,
    )
  }
  checkPath(entry.file, file, `${pointer}/file`, report)
  checkPath(entry.passwordFile, file, `${pointer}/passwordFile`, report)
}

export function checkPath(path: string | undefined, file: ConfigFile, pointer: string, report: Report): void {
  const text = path === undefined ? undefined : whyNotAPath(path)
  if (text !== undefined) report.add('CONFIG_INVALID', file.place(pointer, 'value'), file.subject(pointer), text)
}

function whyNotAPath(path: string): string | undefined {
  if (path.includes('-----BEGIN')) {
    return 'must be the name of a file: certificates themselves go under anchors: { NAME: { pem: … } }'
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: exactly these are refused
  if (/[\u0000-\u001f\u007f]/.test(path)) return 'must be the name of a file, without control characters'
  if (!path.split('/').includes('..')) return undefined
  return `must not lead out of the configuration folder with "..", found ${JSON.stringify(path)}`
}

function checkRegistry(
  registry: DeclaredRegistry,
  knownNames: ReadonlySet<string>,
  policy: DeclarationPolicy,
  report: Report,
): void {
  const { entry, file, pointer } = registry
  checkHost(registry, policy, report)
  if (entry.ca !== undefined && entry.anchors !== undefined) {
    const text = 'must have only one of the keys ca and anchors: name the file as an anchor too'
    report.add('CONFIG_INVALID', file.place(`${pointer}/ca`, 'key'), file.subject(pointer), text)
  }
  checkPath(entry.ca, file, `${pointer}/ca`, report)
  entry.anchors?.forEach((name, index) => {
    if (knownNames.has(name)) return
    const at = `${pointer}/anchors/${index}`
    const nearby = report.isCrowded ? '' : didYouMean(name, [...knownNames])
    const hint = nearby || (knownNames.size === 0 ? '; no anchors are declared' : '')
    report.add('CONFIG_INVALID', file.place(at, 'value'), file.subject(at), `names the unknown anchor ${name}${hint}`)
  })
  checkForbidden(registry, policy, report)
  checkCredentials(registry, report)
  checkEndpoints(registry, knownNames, policy, report)
  checkProof(registry, report)
  checkAddresses(registry, policy, report)
}

function checkHost({ entry, file, pointer }: DeclaredRegistry, policy: DeclarationPolicy, report: Report): void {
  const at = `${pointer}/host`
  const place = file.place(at, 'value')
  const subject = file.subject(at)
  if (entry.host !== '*') {
    const problem = checkDeclaredHost(entry.host)
    if (problem !== undefined) report.add(problem.code, place, subject, problem.text)
  } else if (!policy.allowWildcard) {
    report.add('CONFIG_INVALID', place, subject, 'must name one host: "*" needs policy.allowWildcard: true')
  }
}

function checkForbidden({ entry, file, pointer }: DeclaredRegistry, policy: DeclarationPolicy, report: Report): void {
  const hasAnchors = entry.ca !== undefined || (entry.anchors ?? []).length > 0
  const host = entry.host.toLowerCase()
  if (!hasAnchors || !isForbidden(host, policy)) return
  const at = entry.ca === undefined ? `${pointer}/anchors` : `${pointer}/ca`
  const text = `is not allowed for ${host}: policy.forbidAnchorsFor lists it`
  report.add('ANCHOR_FORBIDDEN', file.place(at, 'key'), file.subject(at), text)
}

/** One way to log in: a docker configuration, a user and a password, or a token. */
function checkCredentials({ entry, file, pointer }: DeclaredRegistry, report: Report): void {
  const { credentials } = entry
  if (credentials === undefined) return
  const at = `${pointer}/credentials`
  const add = (text: string) => report.add('CONFIG_INVALID', file.place(at, 'key'), file.subject(at), text)
  const { dockerConfigFile, usernameFile, passwordFile, tokenFile } = credentials
  const ways = [dockerConfigFile, passwordFile, tokenFile].filter((way) => way !== undefined).length
  if (ways !== 1)
    add('must have exactly one of the keys dockerConfigFile, passwordFile (with usernameFile) and tokenFile')
  else if (passwordFile !== undefined && usernameFile === undefined)
    add('has passwordFile, which needs usernameFile beside it')
  else if (dockerConfigFile !== undefined && usernameFile !== undefined)
    add('has usernameFile, which has no effect beside dockerConfigFile')
  const paths = { dockerConfigFile, usernameFile, passwordFile, tokenFile }
  for (const [key, path] of Object.entries(paths)) checkPath(path, file, `${at}/${key}`, report)
  credentials.hosts?.forEach((host, index) => {
    const where = `${at}/hosts/${index}`
    const problem = checkRegistryHost(host)
    if (problem !== undefined) report.add(problem.code, file.place(where, 'value'), file.subject(where), problem.text)
  })
}

function checkProof({ entry, file, pointer }: DeclaredRegistry, report: Report): void {
  const { image, level, every, leavesImage } = entry.proof ?? {}
  const add = (key: string, text: string | undefined) => {
    const at = `${pointer}/proof/${key}`
    if (text !== undefined) report.add('CONFIG_INVALID', file.place(at, 'value'), file.subject(at), text)
  }
  // A wrong host would be reported a second time through the image.
  if (image !== undefined && checkRegistryHost(entry.host) === undefined)
    add('image', checkProofImage(image, entry.host))
  if (level === 'pull' && image === undefined) add('level', 'is pull, which needs the key image beside it')
  if (leavesImage === true && level !== 'pull') add('leavesImage', 'is true, which needs level: pull beside it')
  if (every !== undefined) add('every', checkDuration(every))
}

function checkDuplicates(registries: readonly DeclaredRegistry[], report: Report): void {
  const first = new Map<string, DeclaredRegistry>()
  for (const registry of registries) {
    const { host } = registry.entry
    const earlier = first.get(host)
    const at = `${registry.pointer}/host`
    if (earlier === undefined) {
      first.set(host, registry)
      continue
    }
    const text = `declares ${JSON.stringify(host.slice(0, 80))} again: it is already declared at ${placeText(hostPlace(earlier))}`
    report.add('CONFIG_CONFLICT', hostPlace(registry), registry.file.subject(at), text)
  }
  const last = registries[MAX_REGISTRIES]
  if (last !== undefined) {
    const text = `is the first of ${registries.length - MAX_REGISTRIES} registries too many: ${MAX_REGISTRIES} are allowed`
    report.add('CONFIG_TOO_LARGE', last.place, last.file.subject(last.pointer), text)
  }
}

function hostPlace({ file, pointer }: DeclaredRegistry): Place {
  return file.place(`${pointer}/host`, 'value')
}
