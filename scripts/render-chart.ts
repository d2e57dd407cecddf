// Writes the templates of the Helm chart from the kustomize overlays, so that both make the same objects: each overlay is one file that is there
// for one value of `profile`, and what differs between installations is asked from the values.
// usage: node scripts/render-chart.ts (a test says when it has to be run)
import { execFileSync } from 'node:child_process'
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseAllDocuments, stringify } from 'yaml'

const DAEMONSET = join(import.meta.dirname, '../daemonset')
const TEMPLATES = join(DAEMONSET, 'chart/templates')

type Value = { [key: string]: Value } & Value[] & string

/** Stands in a value until the text is made; quotes around it go with it. */
function ask(expression: string): Value {
  return `@@${expression}@@` as Value
}

export function overlays(): readonly string[] {
  return readdirSync(join(DAEMONSET, 'overlays')).toSorted()
}

export function chartTemplate(overlay: string): string {
  const rendered = execFileSync('kubectl', ['kustomize', join(DAEMONSET, 'overlays', overlay)], { encoding: 'utf8' })
  const parts = parseAllDocuments(rendered).map((document) => part(document.toJS() as Value))
  return `{{- if eq .Values.profile "${overlay}" }}\n${parts.join('')}{{- end }}\n`
}

function part(object: Value): string {
  const condition = CONDITIONS[String(object['kind'])]
  if (object['kind'] === 'DaemonSet') openDaemonSet(object)
  if (object['kind'] === 'NetworkPolicy') {
    const from = object['spec']?.['ingress']?.[0]?.['from']?.[0]?.['namespaceSelector']?.['matchLabels']
    if (from === undefined) throw new Error('the NetworkPolicy has another form than this script knows')
    from['kubernetes.io/metadata.name'] = ask('toJson .Values.networkPolicy.monitoringNamespace')
  }
  const text = stringify(object, { lineWidth: 0 }).replaceAll(/"?@@(.*?)@@"?/g, '{{ $1 }}')
  return condition === undefined ? `---\n${text}` : `{{- if ${condition} }}\n---\n${text}{{- end }}\n`
}

const CONDITIONS: { readonly [kind: string]: string | undefined } = {
  Namespace: '.Values.createNamespace',
  NetworkPolicy: '.Values.networkPolicy.enabled',
}

function openDaemonSet(object: Value): void {
  const spec = object['spec'] as Value
  const pod = spec['template']?.['spec'] as Value
  const rolling = spec['updateStrategy']?.['rollingUpdate'] as Value
  if (rolling['maxUnavailable'] === '10%') rolling['maxUnavailable'] = ask('toJson .Values.maxUnavailable')
  pod['nodeSelector'] = ask('toJson .Values.nodeSelector')
  pod['tolerations'] = ask('toJson .Values.tolerations')
  pod['priorityClassName'] = ask('toJson .Values.priorityClassName')
  pod['imagePullSecrets'] = ask('toJson .Values.imagePullSecrets')
  for (const container of [...(pod['initContainers'] ?? []), ...(pod['containers'] ?? [])]) {
    container['image'] = ask('toJson .Values.image')
    container['imagePullPolicy'] = ask('toJson .Values.imagePullPolicy')
    const resources = RESOURCES[String(container['name'])]
    if (resources !== undefined) container['resources'] = ask(`toJson .Values.resources.${resources}`)
  }
}

const RESOURCES: { readonly [container: string]: string | undefined } = {
  agent: 'agent',
  uninstall: 'agent',
  'cri-proxy': 'sidecar',
  restarter: 'sidecar',
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href)
  for (const overlay of overlays()) writeFileSync(join(TEMPLATES, `profile-${overlay}.yaml`), chartTemplate(overlay))
