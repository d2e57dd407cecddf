// The manifests as kubectl renders them, as plain values.
import { execFile } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { parseAllDocuments } from 'yaml'

const run = promisify(execFile)

export const DAEMONSET_FOLDER = join(import.meta.dirname, '../../daemonset')

export const OVERLAYS = readdirSync(join(DAEMONSET_FOLDER, 'overlays')).toSorted()

export type KubernetesObject = {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: {
    readonly name: string
    readonly namespace?: string
    readonly labels?: { readonly [name: string]: string }
    readonly annotations?: { readonly [name: string]: string }
  }
  readonly [field: string]: unknown
}

export type VolumeMount = {
  readonly name: string
  readonly mountPath: string
  readonly readOnly?: boolean
  readonly recursiveReadOnly?: string
}

export type SecurityContext = {
  readonly runAsUser?: number
  readonly runAsGroup?: number
  readonly runAsNonRoot?: boolean
  readonly privileged?: boolean
  readonly allowPrivilegeEscalation?: boolean
  readonly readOnlyRootFilesystem?: boolean
  readonly capabilities?: { readonly add?: readonly string[]; readonly drop?: readonly string[] }
  readonly seccompProfile?: { readonly type: string }
  readonly appArmorProfile?: { readonly type: string }
}

export type Container = {
  readonly name: string
  readonly image: string
  readonly command?: readonly string[]
  readonly args?: readonly string[]
  readonly env?: readonly {
    readonly name: string
    readonly value?: string
    readonly valueFrom?: { readonly fieldRef?: { readonly fieldPath: string } }
  }[]
  readonly restartPolicy?: string
  readonly ports?: readonly { readonly name?: string; readonly containerPort: number }[]
  readonly startupProbe?: Probe
  readonly livenessProbe?: Probe
  readonly readinessProbe?: Probe
  readonly resources?: {
    readonly limits?: { readonly memory?: string; readonly cpu?: string }
    readonly requests?: object
  }
  readonly securityContext?: SecurityContext
  readonly volumeMounts?: readonly VolumeMount[]
}

export type Probe = { readonly httpGet?: { readonly path: string; readonly port: string | number } }

type Reference = { readonly name: string; readonly optional?: boolean }

export type Source = { readonly configMap?: Reference; readonly secret?: Reference }

export type Volume = {
  readonly name: string
  readonly configMap?: Reference
  readonly projected?: { readonly sources: readonly Source[] }
  readonly emptyDir?: { readonly medium?: string; readonly sizeLimit?: string }
  readonly hostPath?: { readonly path: string; readonly type?: string }
}

export type PodSpec = {
  readonly serviceAccountName?: string
  readonly automountServiceAccountToken?: boolean
  readonly hostNetwork?: boolean
  readonly hostPID?: boolean
  readonly hostIPC?: boolean
  readonly dnsPolicy?: string
  readonly terminationGracePeriodSeconds?: number
  readonly securityContext?: SecurityContext
  readonly initContainers?: readonly Container[]
  readonly containers: readonly Container[]
  readonly volumes?: readonly Volume[]
}

/** `folder` below daemonset/. */
export async function render(folder: string): Promise<readonly KubernetesObject[]> {
  const { stdout } = await run('kubectl', ['kustomize', join(DAEMONSET_FOLDER, folder)], {
    maxBuffer: 16 * 1024 * 1024,
  })
  return parseObjects(stdout)
}

export function parseObjects(text: string): readonly KubernetesObject[] {
  return parseAllDocuments(text).map((document) => {
    const [error] = document.errors
    if (error !== undefined) throw error
    return document.toJS() as KubernetesObject
  })
}

export function podSpec(objects: readonly KubernetesObject[]): PodSpec {
  const daemonSet = objects.find(({ kind }) => kind === 'DaemonSet')
  if (daemonSet === undefined) throw new Error('there is no DaemonSet')
  return (daemonSet as unknown as { readonly spec: { readonly template: { readonly spec: PodSpec } } }).spec.template
    .spec
}

export function allContainers({ initContainers = [], containers }: PodSpec): readonly Container[] {
  return [...initContainers, ...containers]
}

export function isSidecar({ restartPolicy }: Container): boolean {
  return restartPolicy === 'Always'
}
