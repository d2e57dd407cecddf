// Puts a release together: each part by the file that is named after it. The rule: no time, no random number and no
// name of this machine gets into a file, so that whoever builds it again can compare.
// usage: scripts/release --help
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { parse } from 'yaml'
import { COMPRESSION, rewriteTar } from './archive.ts'
import { changelogSection } from './changelog.ts'
import { packChart } from './chart.ts'
import { joinImages } from './image-index.ts'
import { writeManifests } from './manifests.ts'
import { packDebian, packProgram } from './programs.ts'
import { checksums, provenance, signingCommands, verifyingCommands } from './statements.ts'

const ROOT = join(import.meta.dirname, '../..')
const ARCHITECTURES = ['amd64', 'arm64'] as const
const USAGE = `usage: scripts/release VERSION [--image NAME] [--base-packages FOLDER] [--architecture NAME]...
                       [--skip-images] [--compression LEVEL] [--output FOLDER]
  VERSION                 the version that package.json and the chart have
  --image NAME            where the images will be pushed, for the manifests and the commands that sign (default: localhost/registry-trust)
  --base-packages FOLDER  Debian packages of the C library, as FOLDER/ARCHITECTURE/*.deb, instead of downloading them
  --architecture NAME     amd64 or arm64 alone (default: both)
  --skip-images           everything but the images
  --compression LEVEL     of the programs, 0 (none) to 9; another one than for the release gives other bytes (default: ${COMPRESSION})
  --output FOLDER         (default: dist/release/VERSION)
`

type Wanted = {
  readonly version: string
  readonly image: string
  readonly basePackages: string | undefined
  readonly architectures: readonly string[]
  readonly skipImages: boolean
  readonly compression: number
  readonly out: string
}

/** Or what is wrong with the flags, or that help is wanted. */
function wanted(argv: readonly string[]): Wanted | 'help' | string {
  const options = {
    image: { type: 'string', default: 'localhost/registry-trust' },
    'base-packages': { type: 'string' },
    architecture: { type: 'string', multiple: true },
    'skip-images': { type: 'boolean', default: false },
    compression: { type: 'string', default: String(COMPRESSION) },
    output: { type: 'string' },
    help: { type: 'boolean', default: false, short: 'h' },
  } as const
  try {
    const { values, positionals } = parseArgs({ args: [...argv], options, allowPositionals: true })
    if (values.help) return 'help'
    const [version, ...others] = positionals
    if (version === undefined || others.length > 0) return USAGE
    const folder = values['base-packages']
    const architectures: readonly string[] = values.architecture ?? ARCHITECTURES
    const unknown = architectures.filter((name) => !ARCHITECTURES.some((one) => one === name))
    if (unknown.length > 0)
      return `--architecture must be one of ${ARCHITECTURES.join(', ')}, not ${unknown.join(', ')}\n${USAGE}`
    if (!/^[0-9]$/.test(values.compression))
      return `--compression must be a level from 0 to 9, not ${values.compression}\n${USAGE}`
    return {
      version,
      image: values.image,
      basePackages: folder === undefined ? undefined : resolve(folder),
      architectures,
      skipImages: values['skip-images'],
      compression: Number(values.compression),
      out: resolve(values.output ?? join(ROOT, 'dist/release', version)),
    }
  } catch (error) {
    return `${error instanceof Error ? error.message : String(error)}\n${USAGE}`
  }
}

/** What has another version than the release, with the place to change. */
function disagreeing(version: string): readonly string[] {
  const chart = parse(readFileSync(join(ROOT, 'daemonset/chart/Chart.yaml'), 'utf8')) as Record<string, unknown>
  const { version: own } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }
  const found = {
    'package.json: version': own,
    'Chart.yaml: version': chart['version'],
    'Chart.yaml: appVersion': chart['appVersion'],
  }
  return Object.entries(found).flatMap(([place, there]) => (there === version ? [] : [`${place} is ${String(there)}`]))
}

function release({ version, image, basePackages, architectures, skipImages, compression, out }: Wanted): void {
  const scratch = mkdtempSync(join(tmpdir(), 'registry-trust-release-'))
  const say = (text: string) => process.stderr.write(`release: ${text}\n`)
  rmSync(out, { recursive: true, force: true })
  mkdirSync(out, { recursive: true })
  try {
    const contents = architectures.map((architecture) => {
      say(`the program for linux/${architecture}`)
      const folder = join(scratch, architecture)
      const content = [join(ROOT, 'scripts/image-content.ts'), folder, architecture]
      execFileSync(process.execPath, content, { cwd: ROOT, stdio: ['ignore', 'ignore', 'inherit'] })
      packProgram({ folder, architecture, version, compression, out })
      packDebian({ folder, architecture, version, compression, out, scratch })
      return folder
    })
    for (const name of ['sbom.cdx.json', 'LICENCES.txt'])
      writeFileSync(join(out, name), readFileSync(join(contents[0] ?? '', 'registry-trust', name)))
    say('the chart and the manifests')
    packChart({ version, out, scratch })
    writeManifests({ image: `${image}:${version}`, out })
    if (!skipImages) {
      const archives = architectures.map((architecture) => {
        say(`the image for linux/${architecture}`)
        const archive = join(out, `registry-trust-${version}-image-${architecture}.tar`)
        const flags = ['--platform', `linux/${architecture}`, '--tag', `${image}:${version}`, '--output', archive]
        const packages = basePackages === undefined ? [] : ['--base-packages', join(basePackages, architecture)]
        execFileSync(join(ROOT, 'scripts/image'), [...flags, ...packages], {
          cwd: ROOT,
          stdio: ['ignore', 'ignore', 'inherit'],
        })
        rewriteTar(archive, scratch)
        return archive
      })
      joinImages({ archives, version, out, scratch })
    }
    const changelog = readFileSync(join(ROOT, 'CHANGELOG.md'), 'utf8')
    const notes = changelogSection(changelog, version) + verifyingCommands({ version, image })
    writeFileSync(join(out, 'RELEASE_NOTES.md'), notes)
    say('checksums and provenance')
    const revision = execFileSync('git', ['rev-parse', 'HEAD'], { cwd: ROOT, encoding: 'utf8' }).trim()
    const subjects = checksums(out)
    writeFileSync(join(out, 'provenance.intoto.json'), provenance({ subjects, version, revision, image }))
    writeFileSync(join(out, 'SIGNING.md'), signingCommands({ version, image }))
    say(
      `${relative(process.cwd(), out) || out} holds ${subjects.length} files, SHA256SUMS, provenance.intoto.json and SIGNING.md`,
    )
  } finally {
    rmSync(scratch, { recursive: true })
  }
}

const asked = wanted(process.argv.slice(2))
if (asked === 'help') {
  process.stdout.write(USAGE)
  process.exit(0)
}
if (typeof asked === 'string') {
  process.stderr.write(asked)
  process.exit(64)
}
const others = disagreeing(asked.version)
if (others.length > 0) {
  process.stderr.write(
    `release: this is not ${asked.version}: ${others.join(', ')}. Change them, commit, and run it again\n`,
  )
  process.exit(65)
}
release(asked)
