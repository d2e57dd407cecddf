// Brings the ConfigMaps of `publish` to what the anchors say, and restarts their readers when, and only when, they may
// have read something else. Level based: a run that was cut short between the two is finished by the next one, because
// the ConfigMap says since when it is right, and the Pods say when they started.
import { createHash } from 'node:crypto'
import {
  type ClusterApi,
  CONTENT_ANNOTATION,
  type ConfigMapState,
  type Publication,
  RESTARTED_ANNOTATION,
  SINCE_ANNOTATION,
  WRONG_ANNOTATION,
} from '../model/cluster.ts'
import { type DesiredState, systemAnchors, trustOf } from '../model/desired-state.ts'
import { asAgentError, type Problem, problem } from '../model/errors.ts'
import { markOf, mayHaveRead, ownWriteAt, restartDue, wrongFrom, wrongSpan } from './readers.ts'

export type Published = {
  readonly configMap: string
  readonly result: 'unchanged' | 'written' | 'failed' | 'held'
  /** NAMESPACE/NAME of the Deployments. */
  readonly restarted: readonly string[]
  /** To be restarted later: somebody keeps spoiling the ConfigMap, and the last restart was minutes ago. */
  readonly postponed?: readonly string[]
  readonly problem?: Problem
}

type Content = { readonly [key: string]: string }

/** A failure does not stop the others; what has not begun when `signal` comes is left to the next holder. */
export async function publishAll(
  desired: DesiredState,
  api: ClusterApi,
  { signal, now = Date.now }: { readonly signal?: AbortSignal; readonly now?: () => number } = {},
): Promise<readonly Published[]> {
  const results: Published[] = []
  for (const publication of desired.publish ?? []) {
    if (signal?.aborted) break
    results.push(await publishOne(publication, desired, { api, now: now() }))
  }
  return results
}

async function publishOne(
  publication: Publication,
  desired: DesiredState,
  cluster: { readonly api: ClusterApi; readonly now: number },
): Promise<Published> {
  const { namespace, name } = publication
  const configMap = `${namespace}/${name}`
  const content = contentOf(publication, desired)
  // A broken anchor takes nothing away from programs that work with the last good one.
  if (content === undefined) return { configMap, result: 'held', restarted: [] }
  try {
    return await reconcileOne(publication, content, cluster)
  } catch (thrown) {
    const { code, message } = asAgentError(thrown)
    return { configMap, result: 'failed', restarted: [], problem: problem(code, `${configMap}: ${message}`) }
  }
}

async function reconcileOne(
  publication: Publication,
  content: Content,
  { api, now }: { readonly api: ClusterApi; readonly now: number },
): Promise<Published> {
  const { namespace, name, restart } = publication
  const digest = digestOf(content)
  const found = await api.configMap({ namespace, name })
  const isWritten = found !== undefined && holds(found, content)
  const wasOurs = found?.annotations[CONTENT_ANNOTATION] === digest
  const done = found?.annotations[RESTARTED_ANNOTATION]
  // Another writer put the same bytes there before us, so every reader has them.
  const isAdopted = isWritten && !wasOurs && done === undefined
  const isSettled = isAdopted || done === digest
  const annotations = {
    [CONTENT_ANNOTATION]: digest,
    ...(restart.length > 0 && isSettled && { [RESTARTED_ANNOTATION]: digest }),
    ...(restart.length > 0 && !isWritten && { [WRONG_ANNOTATION]: await wrongMark(found, restart, api) }),
  }
  const isRight = isWritten && wasOurs
  // Written only where it has to be: when we wrote last is when the content became right.
  const right = isRight ? found : await api.applyConfigMap({ namespace, name, data: content, annotations })
  const told = { restarted: [] as string[], postponed: [] as string[] }
  for (const deployment of restart) {
    const due = restartDue(await api.reader(deployment), { digest, isSettled, found: right, now })
    if (due === 'no') continue
    if (due === 'now') {
      const since = markOf(ownWriteAt(right) ?? now)
      await api.annotatePods(deployment, { [CONTENT_ANNOTATION]: digest, [SINCE_ANNOTATION]: since })
    }
    told[due === 'now' ? 'restarted' : 'postponed'].push(`${deployment.namespace}/${deployment.name}`)
  }
  const { restarted, postponed } = told
  const result = isWritten ? 'unchanged' : 'written'
  return { configMap: `${namespace}/${name}`, result, restarted, ...(postponed.length > 0 && { postponed }) }
}

/** A restart that an earlier correction made due, and that was not made yet, stays due. */
async function wrongMark(
  found: ConfigMapState | undefined,
  restart: Publication['restart'],
  api: ClusterApi,
): Promise<string> {
  const from = wrongFrom(found)
  const earlier = found === undefined ? undefined : wrongSpan(found)
  if (earlier === undefined || earlier.from >= from) return markOf(from)
  const readers = await Promise.all(restart.map((one) => api.reader(one).catch(() => undefined)))
  return markOf(readers.some((one) => one === undefined || mayHaveRead(one, earlier)) ? earlier.from : from)
}

function holds(found: ConfigMapState, content: Content): boolean {
  return Object.entries(content).every(([key, value]) => found.data[key] === value)
}

function digestOf(content: Content): string {
  const sorted = Object.entries(content).toSorted(([left], [right]) => (left < right ? -1 : 1))
  return createHash('sha256').update(JSON.stringify(sorted)).digest('hex')
}

/** Undefined while one of the anchors cannot be used. */
function contentOf({ format, key, anchors }: Publication, desired: DesiredState): Content | undefined {
  if (format === 'bundle') {
    const wanted =
      anchors === undefined ? systemAnchors(desired) : desired.anchors.filter(({ name }) => anchors.includes(name))
    if (wanted.some(({ certificates }) => certificates.length === 0)) return undefined
    return { [key]: [...new Set(wanted.flatMap(({ certificates }) => certificates.map(({ pem }) => pem)))].join('') }
  }
  const hosts: { [key: string]: string } = {}
  for (const registry of desired.registries) {
    const { certificates, held } = trustOf(registry, desired)
    if (held) return undefined
    if (certificates.length > 0) hosts[configMapKey(registry.host)] = certificates.map(({ pem }) => pem).join('')
  }
  return hosts
}

/** A key may hold no colon; OpenShift's way to write a port. */
export function configMapKey(host: string): string {
  return host.replace(/:(\d+)$/, '..$1')
}
