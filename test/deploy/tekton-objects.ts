// The Tekton examples of daemonset/tekton as plain values, and how the controller fills in their variables.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseAllDocuments } from 'yaml'
import { DAEMONSET_FOLDER, type KubernetesObject } from './objects.ts'

export const TEKTON_FOLDER = join(DAEMONSET_FOLDER, 'tekton')

type Item = { readonly key: string; readonly path: string }
type EnvVar = { readonly name: string; readonly value: string }

export type Step = {
  readonly name: string
  readonly script?: string
  readonly command?: readonly string[]
  readonly args?: readonly string[]
  readonly env?: readonly EnvVar[]
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string }[]
}

export type TektonObject = KubernetesObject & {
  readonly spec: {
    readonly params?: readonly { readonly name: string; readonly default?: string }[]
    readonly results?: readonly { readonly name: string }[]
    readonly workspaces?: readonly { readonly name: string }[]
    readonly steps?: readonly Step[]
    readonly sidecars?: readonly Step[]
    readonly stepTemplate?: object
    readonly resourcetemplates?: readonly TektonObject[]
    readonly tasks?: readonly {
      readonly name: string
      readonly taskRef: { readonly name: string }
      readonly params: readonly { readonly name: string }[]
      readonly workspaces?: readonly { readonly name: string; readonly workspace: string }[]
    }[]
    readonly volumes?: readonly {
      readonly name: string
      readonly configMap?: { readonly name: string; readonly items?: readonly Item[] }
      readonly secret?: { readonly secretName: string; readonly items?: readonly Item[] }
    }[]
  }
}

export const tektonObjects = readdirSync(TEKTON_FOLDER)
  .filter((name) => name.endsWith('.yaml') && name !== 'kustomization.yaml')
  .flatMap((name) =>
    parseAllDocuments(readFileSync(join(TEKTON_FOLDER, name), 'utf8')).map(
      (document) => document.toJS() as TektonObject,
    ),
  )

export const tasks = tektonObjects.filter(({ kind }) => kind === 'Task')

export function taskNamed(name: string): TektonObject {
  const found = tasks.find(({ metadata }) => metadata.name === name)
  if (found === undefined) throw new Error(`there is no Task ${name}`)
  return found
}

export function stepOf(task: string): Step {
  const [step] = taskNamed(task).spec.steps ?? []
  if (step === undefined) throw new Error(`Task ${task} has no step`)
  return step
}

/** `$(params.image)` and the like by their values; one that is not given stays. */
export function substituted(text: string, values: { readonly [variable: string]: string }): string {
  return text.replace(/\$\(([^)]+)\)/g, (all, name: string) => values[name] ?? all)
}

export function environmentOf(
  { env = [] }: Step,
  values: { readonly [variable: string]: string },
): { readonly [name: string]: string } {
  return Object.fromEntries(env.map(({ name, value }) => [name, substituted(value, values)]))
}

/** Where a step sees the volume of this ConfigMap or Secret, and the items of it: none means that every key is a file. */
export function mountOf(
  task: string,
  source: { readonly configMap: string } | { readonly secret: string },
): { readonly path: string; readonly items: readonly Item[] } {
  const volume = taskNamed(task).spec.volumes?.find(({ configMap, secret }) =>
    'configMap' in source ? configMap?.name === source.configMap : secret?.secretName === source.secret,
  )
  const mount = stepOf(task).volumeMounts?.find(({ name }) => name === volume?.name)
  if (volume === undefined || mount === undefined)
    throw new Error(`Task ${task} does not mount ${JSON.stringify(source)}`)
  return { path: mount.mountPath, items: volume.configMap?.items ?? volume.secret?.items ?? [] }
}
