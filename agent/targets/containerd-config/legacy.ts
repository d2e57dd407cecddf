// `layout: legacy`: registry.configs."HOST".tls in config.toml, for containerd 1.x whose users do not want host
// directories. One restart when a section comes or goes; from then on a CA changes in its file alone, which containerd
// reads at each pull.

import { type LegacyWish, planLegacy } from '../../containerd/edit/legacy-layout.ts'
import { type DesiredState, needsHostFolder, type Registry, trustOf, withWildcard } from '../../model/desired-state.ts'
import { type Problem, problem } from '../../model/errors.ts'
import type { ContainerdFacts } from '../../model/observed-state.ts'
import type { RuntimeStatus } from '../../model/ports.ts'
import type { TargetInput, TargetPlan } from '../../model/target.ts'
import { decodeCertificates } from '../../pki/decode/decode.ts'
import { CA_FILE, CLIENT_CERTIFICATE, CLIENT_KEY, type NamedFile } from '../containerd-hosts/files.ts'
import { rootFile } from '../files/files.ts'
import {
  type ObservedLegacyFiles,
  obstacleTo,
  ownedLegacyPaths,
  planLegacyPuts,
  planLegacyRemovals,
} from './legacy-files.ts'
import type { ObservedLegacy } from './legacy-observe.ts'

/** A registry whose input is broken now keeps what it has: sections that stay cannot have config_path beside them. */
export function heldInLegacy({ desired, owned }: TargetInput, { files }: ObservedLegacy): readonly string[] {
  const hosts = new Set(ownedLegacyPaths(files.folder, owned).map((path) => owned[path]?.subject ?? ''))
  return desired.registries.filter((one) => hosts.has(one.host) && trustOf(one, desired).held).map(({ host }) => host)
}

export type LegacyTargetPlan = TargetPlan & {
  readonly changes: TargetPlan['changes']
  readonly removals: TargetPlan['changes']
  /** config.toml as it becomes. */
  readonly bytes: Buffer | undefined
  /** Files that it names then, for the rehearsal. */
  readonly staged: readonly { readonly path: string; readonly bytes: Buffer }[]
}

/** What becomes of the files and of config.toml; the caller makes the one change of config.toml out of it. */
export async function planLegacyLayout(
  input: TargetInput,
  facts: ContainerdFacts,
  { files: observed, original, foreignCas }: ObservedLegacy,
): Promise<LegacyTargetPlan | { readonly refused: Problem }> {
  const { desired, owned, unverified } = input
  const { folder } = observed
  const isOff = desired.targets.containerd.enabled === 'off'
  const problems: Problem[] = []
  const wanted = new Map<string, readonly NamedFile[]>()
  const wishes: LegacyWish[] = []
  const kept: string[] = []
  for (const registry of isOff ? [] : withWildcard(desired)) {
    const { host } = registry
    const trust = trustOf(registry, desired)
    if (!trust.held && !needsHostFolder(registry, desired)) continue
    const files = trust.held ? [] : filesOf(registry, input, observed)
    const refusal = trust.held ? undefined : (inexpressible(registry) ?? obstacleTo(host, files, observed))
    if (refusal !== undefined) problems.push(refusal)
    if (trust.held || refusal !== undefined) {
      kept.push(host)
      continue
    }
    const path = (name: string) => (files.some((file) => file.name === name) ? `${folder}/${host}/${name}` : undefined)
    const [certificate, key] = [path(CLIENT_CERTIFICATE), path(CLIENT_KEY)]
    wanted.set(host, files)
    wishes.push({
      host,
      ca: path(CA_FILE),
      client: certificate === undefined || key === undefined ? undefined : { certificate, key },
      isUnverified: unverified.has(host),
      holdsAll: (caFile) => trust.certificates.every(({ fingerprint }) => foreignCas.get(caFile)?.has(fingerprint)),
    })
  }
  const plan = await planLegacy({
    configFile: facts.configFile,
    bytes: facts.config.kind === 'file' ? facts.config.bytes : undefined,
    imports: facts.imports,
    containerdVersion: facts.version,
    folder,
    original,
    wishes,
    kept,
  })
  if (plan.kind === 'refused') return { refused: plan.problem }
  const named = new Map<string, readonly NamedFile[]>()
  for (const [host, { usesOwnCa }] of plan.accepted)
    named.set(
      host,
      (wanted.get(host) ?? []).filter(({ name }) => usesOwnCa || name !== CA_FILE),
    )
  const isKept = (path: string) => {
    const host = owned[path]?.subject ?? ''
    return kept.includes(host) || (wanted.has(host) && !named.has(host))
  }
  const keep = new Set(ownedLegacyPaths(folder, owned).filter(isKept))
  for (const [host, files] of named) {
    if (files.length > 0) keep.add(`${folder}/${host}`)
    for (const { name } of files) keep.add(`${folder}/${host}/${name}`)
  }
  if (keep.size > 0) keep.add(folder)
  const removal = planLegacyRemovals(owned, keep, observed)
  return {
    changes: planLegacyPuts(named, observed),
    removals: removal.changes,
    problems: [...problems, ...plan.problems, ...removal.problems],
    bytes: plan.bytes,
    staged: staged(named, keep, observed),
  }
}

function inexpressible({ host, source, mirrors = [], headers, extra, skipVerify, plainHttp, noFallback }: Registry) {
  const what = [
    ...(host === '*' ? ['the wildcard'] : []),
    ...(mirrors.length > 0 ? ['mirrors'] : []),
    ...(noFallback === true ? ['fallback: false'] : []),
    ...(headers !== undefined && Object.keys(headers).length > 0 ? ['headers'] : []),
    ...(extra === undefined ? [] : ['extra']),
    ...(skipVerify === true ? ['skipVerify'] : []),
    ...(plainHttp === true ? ['plainHttp'] : []),
  ]
  if (what.length === 0) return undefined
  const text = `${source}: ${what.join(', ')} of ${host}: layout: legacy writes only CA files and client certificates; nothing of this registry was written`
  return problem('LAYOUT_LEGACY_UNUSABLE', text)
}

/** The old anchors stay beside the new ones until the new ones verify what the registry serves. */
function filesOf(
  registry: Registry,
  { desired, unverified }: { readonly desired: DesiredState; readonly unverified: ReadonlySet<string> },
  { hosts }: ObservedLegacyFiles,
): readonly NamedFile[] {
  const { host, clientCertificate } = registry
  const now = hosts.get(host)?.files.get(CA_FILE)
  const old = unverified.has(host) && now?.kind === 'file' ? decodeCertificates(now.bytes).certificates : []
  const pems = [...new Set([...trustOf(registry, desired).certificates, ...old].map(({ pem }) => pem))]
  return [
    ...(pems.length === 0 ? [] : [{ name: CA_FILE, content: rootFile(pems.join('')) }]),
    ...(clientCertificate === undefined
      ? []
      : [
          { name: CLIENT_CERTIFICATE, content: rootFile(clientCertificate.certificate) },
          { name: CLIENT_KEY, content: rootFile(clientCertificate.key.reveal(), 0o600) },
        ]),
  ]
}

function staged(
  named: ReadonlyMap<string, readonly NamedFile[]>,
  keep: ReadonlySet<string>,
  { folder, hosts }: ObservedLegacyFiles,
): LegacyTargetPlan['staged'] {
  const files = new Map<string, Buffer>()
  for (const [host, found] of hosts)
    for (const [name, state] of found.files) {
      const path = `${folder}/${host}/${name}`
      if (keep.has(path) && state.kind === 'file') files.set(path, state.bytes)
    }
  for (const [host, wanted] of named)
    for (const { name, content } of wanted) files.set(`${folder}/${host}/${name}`, content.bytes)
  return [...files].map(([path, bytes]) => ({ path, bytes }))
}

/** Whether the running containerd has loaded a section that names the file; undefined where it does not tell. */
export function isLoaded(path: string, { loadedTlsFiles, loadedLegacy }: RuntimeStatus): boolean | undefined {
  if (loadedTlsFiles !== undefined) return loadedTlsFiles.includes(path)
  return loadedLegacy === false ? false : undefined
}
