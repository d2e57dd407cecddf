// install-PROFILE.yaml: each overlay as kubectl renders it, with the image of the release.
import { execFileSync } from 'node:child_process'
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const OVERLAYS = join(import.meta.dirname, '../../daemonset/overlays')
const IMAGE_HERE = /image: localhost\/registry-trust:\S+/g

export function writeManifests({ version, image, out }: { version: string; image: string; out: string }): void {
  for (const profile of readdirSync(OVERLAYS).toSorted()) {
    const text = execFileSync('kubectl', ['kustomize', join(OVERLAYS, profile)], { encoding: 'utf8' })
    if (!IMAGE_HERE.test(text)) throw new Error(`overlay ${profile} has another image than localhost/registry-trust`)
    writeFileSync(join(out, `install-${profile}.yaml`), text.replaceAll(IMAGE_HERE, `image: ${image}:${version}`))
  }
}
