// install-PROFILE.yaml: each overlay as kubectl renders it, with an image that nodes can pull.
// usage: node scripts/releasing/manifests.ts IMAGE FOLDER
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const OVERLAYS = join(import.meta.dirname, '../../daemonset/overlays')
const IMAGE_HERE = /image: localhost\/registry-trust:\S+/g

type Wanted = {
  /** A whole reference, with a tag or a digest. */
  readonly image: string
  readonly out: string
  /** Names of overlays. */
  readonly profiles?: readonly string[]
}

/** Writes install-PROFILE.yaml into the folder `out`, for each overlay or for those that are named. */
export function writeManifests({ image, out, profiles = readdirSync(OVERLAYS).toSorted() }: Wanted): void {
  mkdirSync(out, { recursive: true })
  for (const profile of profiles) {
    const text = execFileSync('kubectl', ['kustomize', join(OVERLAYS, profile)], { encoding: 'utf8' })
    if (!IMAGE_HERE.test(text)) throw new Error(`overlay ${profile} has another image than localhost/registry-trust`)
    writeFileSync(join(out, `install-${profile}.yaml`), text.replaceAll(IMAGE_HERE, `image: ${image}`))
  }
}

if (import.meta.main) {
  const [image, out] = process.argv.slice(2)
  if (image === undefined || out === undefined) throw new Error('usage: manifests.ts IMAGE FOLDER')
  writeManifests({ image, out })
}
