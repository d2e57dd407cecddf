// The section `publish`: which ConfigMaps of the cluster get the anchors. Any trusted main file may have one; they add
// up.
import type { Publication, PublishFormat } from '../model/cluster.ts'
import { didYouMean } from '../text/did-you-mean.ts'
import type { ConfigFile } from './reading/config-file.ts'
import { placeText, type Report } from './reading/report.ts'

type Entry = {
  readonly namespace: string
  readonly name: string
  readonly key?: string
  readonly format?: PublishFormat
  readonly anchors?: readonly string[]
  readonly restart?: readonly string[]
}

const BUNDLE_KEY = 'ca-bundle.crt'
/** https://tekton.dev/docs/pipelines/additional-configs/ ("Configuring self-signed cert for private registry") */
const TEKTON = {
  namespace: 'tekton-pipelines',
  name: 'config-registry-cert',
  key: 'cert',
  controller: 'tekton-pipelines-controller',
}

export function loadPublications(
  files: readonly ConfigFile[],
  knownAnchors: ReadonlySet<string>,
  report: Report,
): readonly Publication[] {
  const found: Publication[] = []
  for (const file of files) {
    const section = file.value['publish'] as
      | { readonly tekton?: boolean; readonly configMaps?: readonly Entry[] }
      | undefined
    if (section === undefined || !file.isSound('/publish')) continue
    if (section.tekton === true) found.push(tekton(placeText(file.place('/publish/tekton', 'value'))))
    section.configMaps?.forEach((entry, index) => {
      const pointer = `/publish/configMaps/${index}`
      const refuse = (key: string, text: string) =>
        report.add('CONFIG_INVALID', file.place(`${pointer}${key}`, 'value'), file.subject(`${pointer}${key}`), text)
      const { namespace, name, format = 'bundle', anchors, restart = [] } = entry
      if (format === 'certs.d' && entry.key !== undefined)
        refuse('/key', 'does not apply to format certs.d, whose keys are the hosts')
      if (format === 'certs.d' && anchors !== undefined)
        refuse('/anchors', 'does not apply to format certs.d: each host has its own')
      anchors?.forEach((anchor, which) => {
        if (!knownAnchors.has(anchor))
          refuse(`/anchors/${which}`, `names the unknown anchor ${anchor}${didYouMean(anchor, [...knownAnchors])}`)
      })
      const earlier = found.find((one) => one.namespace === namespace && one.name === name)
      if (earlier !== undefined)
        report.add(
          'CONFIG_CONFLICT',
          file.place(pointer, 'value'),
          file.subject(pointer),
          `declares ${namespace}/${name} again: it is already declared at ${earlier.source}`,
        )
      found.push({
        ...{ namespace, name, format, key: entry.key ?? BUNDLE_KEY },
        restart: restart.map((deployment) => ({ namespace, name: deployment })),
        source: placeText(file.place(pointer, 'value')),
        ...(anchors === undefined || anchors.length === 0 ? {} : { anchors }),
      })
    })
  }
  return found
}

function tekton(source: string): Publication {
  const { namespace, name, key, controller } = TEKTON
  return { namespace, name, key, format: 'bundle', restart: [{ namespace, name: controller }], source }
}
