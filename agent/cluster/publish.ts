// Brings the ConfigMaps of `publish` to what the anchors say, and restarts their readers when, and only when, the
// content changed. Level based: a run that was cut short between the two is finished by the next one, because the
// ConfigMap itself says what was done.
import { createHash } from 'node:crypto'
import {
  type ClusterApi,
  CONTENT_ANNOTATION,
  type ConfigMapState,
  type Publication,
  RESTARTED_ANNOTATION,
} from '../model/cluster.ts'
import { type DesiredState, systemAnchors, trustOf } from '../model/desired-state.ts'
import { asAgentError, type Problem, problem } from '../model/errors.ts'

export type Published = {
  readonly configMap: string
  readonly result: 'unchanged' | 'written' | 'failed' | 'held'
  /** NAMESPACE/NAME of the Deployments. */
  readonly restarted: readonly string[]
  readonly problem?: Problem
}

type Content = { readonly [key: string]: string }

/** One that fails holds up none of the others; those that `signal` comes before are left to whoever goes on. */
export async function publishAll(
  desired: DesiredState,
  api: ClusterApi,
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<readonly Published[]> {
  const results: Published[] = []
  for (const publication of desired.publish ?? []) {
    if (signal?.aborted) break
    results.push(await publishOne(publication, desired, api))
  }
  return results
}

async function publishOne(publication: Publication, desired: DesiredState, api: ClusterApi): Promise<Published> {
  const { namespace, name } = publication
  const configMap = `${namespace}/${name}`
  const content = contentOf(publication, desired)
  // A broken anchor takes nothing away from programs that work with the last good one.
  if (content === undefined) return { configMap, result: 'held', restarted: [] }
  try {
    return await reconcileOne(publication, content, api)
  } catch (thrown) {
    const { code, message } = asAgentError(thrown)
    return { configMap, result: 'failed', restarted: [], problem: problem(code, `${configMap}: ${message}`) }
  }
}

async function reconcileOne(publication: Publication, content: Content, api: ClusterApi): Promise<Published> {
  const { namespace, name, restart } = publication
  const digest = digestOf(content)
  const found = await api.configMap({ namespace, name })
  const isWritten = found !== undefined && holds(found, content)
  const wasOurs = found?.annotations[CONTENT_ANNOTATION] === digest
  const done = found?.annotations[RESTARTED_ANNOTATION]
  // The same bytes by another hand before us: whoever reads them has them.
  const isAdopted = isWritten && !wasOurs && done === undefined
  const isRestartDue = restart.length > 0 && done !== digest && !isAdopted
  const write = (restarted: string | undefined) =>
    api.applyConfigMap({
      namespace,
      name,
      data: content,
      annotations: {
        [CONTENT_ANNOTATION]: digest,
        ...(restarted === undefined ? {} : { [RESTARTED_ANNOTATION]: restarted }),
      },
    })
  const configMap = `${namespace}/${name}`
  const isRight = isWritten && wasOurs
  if (isRight && !isRestartDue) return { configMap, result: 'unchanged', restarted: [] }
  const settled = restart.length > 0 ? (isRestartDue ? done : digest) : undefined
  if (!isRight) await write(settled)
  if (isRestartDue) {
    for (const deployment of restart) await api.annotatePods(deployment, CONTENT_ANNOTATION, digest)
    await write(digest)
  }
  const restarted = isRestartDue ? restart.map((one) => `${one.namespace}/${one.name}`) : []
  return { configMap, result: isWritten ? 'unchanged' : 'written', restarted }
}

function holds(found: ConfigMapState, content: Content): boolean {
  return Object.entries(content).every(([key, value]) => found.data[key] === value)
}

function digestOf(content: Content): string {
  const sorted = Object.entries(content).toSorted(([left], [right]) => (left < right ? -1 : 1))
  return createHash('sha256').update(JSON.stringify(sorted)).digest('hex')
}

/** Undefined while one of the anchors cannot be used. */
export function contentOf({ format, key, anchors }: Publication, desired: DesiredState): Content | undefined {
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
