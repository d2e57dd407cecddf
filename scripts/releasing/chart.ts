// The chart as helm packs it, and as it lies in a registry: https://helm.sh/docs/topics/registries/#helm-chart-manifest
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import { gzip, normalizeModes, tarOf } from './archive.ts'
import { finishLayout, MANIFEST, putBlob } from './oci.ts'

const CHART = join(import.meta.dirname, '../../daemonset/chart')

export function packChart({ version, out, scratch }: { version: string; out: string; scratch: string }): void {
  const folder = join(scratch, 'chart/registry-trust')
  mkdirSync(join(scratch, 'chart'))
  // `files` is a link: the package has what is behind it. Node's own copy keeps such a link, and removing below it
  // would reach the sources.
  execFileSync('cp', ['-rL', CHART, folder])
  const ignored = readFileSync(join(CHART, '.helmignore'), 'utf8').split('\n')
  for (const name of ignored.filter((line) => line !== '' && !line.startsWith('#'))) rmSync(join(folder, name))
  normalizeModes(folder)
  const archive = gzip(tarOf(join(scratch, 'chart'), ['registry-trust']))
  writeFileSync(join(out, `registry-trust-chart-${version}.tgz`), archive)

  const layout = join(scratch, 'chart-layout')
  mkdirSync(layout)
  const about = JSON.stringify(parse(readFileSync(join(CHART, 'Chart.yaml'), 'utf8')))
  const config = putBlob(layout, 'application/vnd.cncf.helm.config.v1+json', about)
  const layers = [putBlob(layout, 'application/vnd.cncf.helm.chart.content.v1.tar+gzip', archive)]
  const manifest = JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST, config, layers })
  finishLayout(layout, putBlob(layout, MANIFEST, manifest), version)
  normalizeModes(layout)
  const packed = tarOf(layout, ['blobs', 'index.json', 'oci-layout'])
  writeFileSync(join(out, `registry-trust-chart-${version}-oci.tar`), packed)
}
