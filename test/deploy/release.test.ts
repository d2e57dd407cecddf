// What scripts/release makes: the same bytes twice, parts that their own tools read, and a push to a real registry.
// With REGISTRY_TRUST_FULL=1 it is made twice, compressed and for both architectures, signed, and the image is pushed.
import { execFile, execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { gunzipSync } from 'node:zlib'
import t from 'tap'
import { rewriteTar } from '../../scripts/releasing/archive.ts'
import { changelogSection } from '../../scripts/releasing/changelog.ts'
import { signingCommands, verifyingCommands } from '../../scripts/releasing/statements.ts'
import { helm, testWithHelm } from '../fixtures/deploy/helm.ts'
import { OVERLAYS } from '../fixtures/deploy/objects.ts'
import { createAuthority, issueServer } from '../fixtures/node/certificates.ts'
import { tool } from '../fixtures/node/generations.ts'

const run = promisify(execFile)
const ROOT = join(import.meta.dirname, '../..')
const BUILD_MS = 900_000
const IS_FULL = process.env['REGISTRY_TRUST_FULL'] === '1'
const OWN = process.arch === 'arm64' ? 'arm64' : 'amd64'
/** Most of the time goes into compressing two programs twice: one architecture shows all but that there are two. */
const ARCHITECTURES = IS_FULL ? ['amd64', 'arm64'] : [OWN]
/** So does compressing them: what is looked at here is in them either way. */
const COMPRESSION = IS_FULL ? [] : ['--compression', '0']
/** Files that are no subject of the statements: they are the statements. */
const SAME = ['SHA256SUMS', 'provenance.intoto.json', 'SIGNING.md']

t.setTimeout(3 * BUILD_MS)

async function release(out: string, ...more: readonly string[]): Promise<void> {
  const args = ['--output', out, ...ARCHITECTURES.flatMap((name) => ['--architecture', name]), ...COMPRESSION, ...more]
  await run(join(ROOT, 'scripts/release'), ['0.1.0', ...args], { cwd: ROOT, maxBuffer: 16 * 1024 * 1024 })
}

function sha256(file: string): string {
  return createHash('sha256').update(readFileSync(file)).digest('hex')
}

t.test('a release without its images', { timeout: BUILD_MS }, async (t) => {
  const folder = t.testdir({})
  const one = join(folder, 'one')
  await release(one, '--skip-images', '--image', 'harbor.example.net/rt')
  const names = readdirSync(one)

  t.test('has every part', async (t) => {
    for (const architecture of ARCHITECTURES) {
      t.ok(names.includes(`registry-trust-0.1.0-linux-${architecture}.tar.gz`))
      t.ok(names.includes(`registry-trust_0.1.0_${architecture}.deb`))
    }
    const parts = ['sbom.cdx.json', 'LICENCES.txt', 'RELEASE_NOTES.md', 'registry-trust-chart-0.1.0-oci.tar', ...SAME]
    for (const name of parts) t.ok(names.includes(name), name)
    for (const profile of OVERLAYS) {
      const text = readFileSync(join(one, `install-${profile}.yaml`), 'utf8')
      t.match(text, 'image: harbor.example.net/rt:0.1.0')
      t.notMatch(text, /localhost\/registry-trust/)
    }
  })

  t.test('has a checksum and a provenance for each of them', async (t) => {
    await run('sha256sum', ['--check', '--quiet', 'SHA256SUMS'], { cwd: one })
    const statement = JSON.parse(readFileSync(join(one, 'provenance.intoto.json'), 'utf8')) as {
      readonly subject: readonly { readonly name: string; readonly digest: { readonly sha256: string } }[]
    }
    t.match(statement, { _type: 'https://in-toto.io/Statement/v1', predicateType: 'https://slsa.dev/provenance/v1' })
    t.same(
      statement.subject.map(({ name }) => name),
      names.filter((name) => !SAME.includes(name)).toSorted(),
    )
    for (const { name, digest } of statement.subject) t.equal(digest.sha256, sha256(join(one, name)), name)
  })

  t.test('brings a program that runs where it was unpacked, through a link too', async (t) => {
    const into = t.testdir({ bin: {} })
    await run('tar', ['-xzf', join(one, `registry-trust-0.1.0-linux-${OWN}.tar.gz`), '-C', into])
    const link = join(into, 'bin/registry-trust')
    await run('ln', ['-s', `../registry-trust-0.1.0-linux-${OWN}/registry-trust`, link])
    const { stdout } = await run(link, ['--version'], { env: { PATH: '/usr/bin:/bin' } })
    t.equal(stdout, 'registry-trust 0.1.0\n')
  })

  t.test('brings a Debian package that starts nothing and forgets nothing', async (t) => {
    const deb = join(one, `registry-trust_0.1.0_${OWN}.deb`)
    t.match((await run('dpkg-deb', ['--field', deb])).stdout, /Package: registry-trust\nVersion: 0\.1\.0\n/)
    const into = t.testdir({})
    await run('dpkg-deb', ['--raw-extract', deb, into])
    const unit = readFileSync(join(into, 'lib/systemd/system/registry-trust.service'), 'utf8')
    t.match(unit, 'ExecStart=/usr/bin/registry-trust agent')
    t.notMatch(unit, /\/usr\/local\/(bin|share\/doc)/)
    const completed = readFileSync(join(into, 'usr/share/bash-completion/completions/registry-trust'), 'utf8')
    t.match(completed, 'complete -o filenames')
    t.match(gunzipSync(readFileSync(join(into, 'usr/share/man/man8/registry-trust.8.gz'))).toString(), '.TH REGISTRY')
    for (const script of ['postinst', 'prerm', 'postrm']) {
      const text = readFileSync(join(into, 'DEBIAN', script), 'utf8')
      t.notMatch(text, /systemctl (enable|start)|rm -r/, script)
      await run('sh', ['-n', join(into, 'DEBIAN', script)])
    }
  })

  testWithHelm(t, 'brings a chart that helm takes, and that a registry would', async (t) => {
    const values = ['--set', 'existingConfigMap=x,prometheusRule.enabled=true,dashboards.enabled=true']
    const rendered = await helm(['template', 'x', join(one, 'registry-trust-chart-0.1.0.tgz'), ...values])
    t.match(rendered, { status: 0, stdout: /kind: PrometheusRule/ })
    t.match(rendered.stdout, 'registry-trust-fleet.json')
    t.notMatch(rendered.stderr, 'symbolic link')
    const layout = t.testdir({})
    await run('tar', ['-xf', join(one, 'registry-trust-chart-0.1.0-oci.tar'), '-C', layout])
    const { manifests } = json(layout, 'index.json') as { manifests: [{ digest: string }] }
    const { layers } = json(layout, `blobs/${manifests[0].digest.replace(':', '/')}`) as {
      layers: [{ digest: string }]
    }
    t.equal(layers[0].digest, `sha256:${sha256(join(one, 'registry-trust-chart-0.1.0.tgz'))}`)
  })

  if (IS_FULL) {
    t.test('is signed and verified by the commands that it brings, and a changed file is not', async (t) => {
      const signed = t.testdir({})
      await run('cp', ['-r', `${one}/.`, signed])
      const env = {
        ...process.env,
        HOME: signed,
        PATH: `${cosignFolder()}:${process.env['PATH']}`,
        COSIGN_PASSWORD: '',
      }
      const shell = async (script: string) => await run('bash', ['-euc', script], { cwd: signed, env })
      await shell('cosign generate-key-pair')
      await shell(commandsOf(signed, 'SIGNING.md')[0] ?? 'exit 9')
      const [verify = 'exit 9'] = commandsOf(signed, 'RELEASE_NOTES.md')
      t.ok((await shell(verify)).stderr.split('Verified OK').length > 10, 'the checksums and each file')
      writeFileSync(join(signed, 'install-full.yaml'), '# changed\n', { flag: 'a' })
      await t.rejects(shell(verify), /install-full\.yaml: FAILED|did NOT match/)
      await t.rejects(shell(verify.replace(/^sha256sum.*$/m, '')), /digests do not match/)
    })

    t.test('is the same a second time', { timeout: BUILD_MS }, async (t) => {
      const two = join(folder, 'two')
      await release(two, '--skip-images', '--image', 'harbor.example.net/rt')
      t.same(readdirSync(two), names)
      for (const name of names) t.equal(sha256(join(two, name)), sha256(join(one, name)), name)
    })
  }
})

if (IS_FULL)
  t.test(
    'the image is pushed to a registry with its own CA, and named by its digest',
    { timeout: BUILD_MS },
    async (t) => {
      const folder = t.testdir({ storage: {} })
      const authority = await createAuthority(folder, 'Push Root')
      const { chainFile, keyFile } = await issueServer(authority, folder, ['127.0.0.1'])
      const address = `127.0.0.1:${await freePort()}`
      const config = {
        version: 0.1,
        storage: { filesystem: { rootdirectory: join(folder, 'storage') } },
        http: { addr: address, secret: 'fixture', tls: { certificate: chainFile, key: keyFile } },
      }
      writeFileSync(join(folder, 'config.yml'), JSON.stringify(config))
      const registry = spawn(tool('docker-registry', 'docker-registry'), ['serve', join(folder, 'config.yml')], {
        env: { OTEL_TRACES_EXPORTER: 'none' },
        stdio: 'ignore',
      })
      t.teardown(() => registry.kill('SIGKILL'))
      const ca = join(folder, 'push-root.pem')
      writeFileSync(ca, authority.pem)
      const install = join(folder, 'install')
      const pushed = ['--push', `${address}/platform`, '--manifests', install]
      const args = ['--output', join(folder, 'image.tar'), ...pushed]
      const { stdout } = await run(join(ROOT, 'scripts/image'), args, { env: { ...process.env, SSL_CERT_FILE: ca } })
      const name = stdout.trim().split('\n').at(-1) ?? ''
      const [, digest] = /^127\.0\.0\.1:\d+\/platform\/registry-trust@(sha256:[0-9a-f]{64})$/.exec(name) ?? []
      const stored =
        'storage/docker/registry/v2/repositories/platform/registry-trust/_manifests/tags/0.1.0/current/link'
      t.equal(readFileSync(join(folder, stored), 'utf8'), digest, name)
      for (const profile of OVERLAYS) {
        const images = readFileSync(join(install, `install-${profile}.yaml`), 'utf8').match(/image: .*/g)
        t.same([...new Set(images)], [`image: ${name}`], profile)
      }

      writeFileSync(join(folder, 'registry-trust-0.1.0-image.digest'), digest ?? '')
      writeFileSync(join(folder, 'sbom.cdx.json'), '{"bomFormat":"CycloneDX","specVersion":"1.5"}')
      const path = `${cosignFolder()}:${process.env['PATH']}`
      const env = { ...process.env, HOME: folder, PATH: path, COSIGN_PASSWORD: '', SSL_CERT_FILE: ca }
      const release = { version: '0.1.0', image: `${address}/platform/registry-trust` }
      const script = [
        'cosign generate-key-pair; cosign signing-config create --out no-services.json',
        shellBlocks(signingCommands(release))[1],
        shellBlocks(verifyingCommands(release))[1],
      ].join('\n')
      const verified = await run('bash', ['-euc', script], { cwd: folder, env })
      t.match(verified.stdout, digest)
    },
  )

t.test('an archive that tells when it was written becomes the same as another one', async (t) => {
  const folder = t.testdir({ content: { 'index.json': '{}', blobs: { sha256: { abc: 'a blob' } } }, scratch: {} })
  const files = ['2001-01-01', '2002-02-02'].map((day) => {
    const file = join(folder, `${day}.tar`)
    execFileSync('tar', [
      '--create',
      `--mtime=${day}`,
      `--file=${file}`,
      '-C',
      join(folder, 'content'),
      'index.json',
      'blobs',
    ])
    return file
  })
  const [first = '', second = ''] = files
  t.not(sha256(first), sha256(second))
  for (const file of files) rewriteTar(file, join(folder, 'scratch'))
  t.equal(sha256(first), sha256(second))
  const { stdout } = await run('tar', ['--list', `--file=${first}`])
  t.equal(stdout, 'blobs/\nblobs/sha256/\nblobs/sha256/abc\nindex.json\n')
})

t.test('--help tells the flags', async (t) => {
  const { stdout, stderr } = await run(join(ROOT, 'scripts/release'), ['--help'], { cwd: ROOT })
  t.match(stdout, /^usage: scripts\/release VERSION/)
  t.equal(stderr, '')
})

t.test('a version that the sources do not have is refused, with the places', async (t) => {
  const refused = run(join(ROOT, 'scripts/release'), ['9.9.9', '--output', join(t.testdir({}), 'out')], { cwd: ROOT })
  await t.rejects(refused, {
    code: 65,
    stderr: /package\.json: version is 0\.1\.0.*Chart\.yaml: appVersion is 0\.1\.0/,
  })
})

t.test('the notes are the section of the changelog', async (t) => {
  const text = '# Changelog\n\n## Unreleased\n\n- new\n\n## 0.1.0 (2026-01-01)\n\n- old\n'
  t.equal(changelogSection(text, '0.1.0'), '# registry-trust 0.1.0\n\n- old\n')
  t.equal(changelogSection(text, '0.2.0'), '# registry-trust 0.2.0\n\n- new\n')
  t.throws(() => changelogSection('# Changelog\n', '0.2.0'), /no section "## 0\.2\.0"/)
})

/** The lines of each sh block of a page. */
function shellBlocks(text: string): readonly string[] {
  return [...text.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, lines = '']) => lines)
}

function commandsOf(folder: string, page: string): readonly string[] {
  const text = readFileSync(join(folder, page), 'utf8')
  // The changelog may hold commands of its own.
  return shellBlocks(text.slice(Math.max(text.indexOf('## Verifying'), 0)))
}

function cosignFolder(): string {
  return dirname(tool('cosign', 'cosign'))
}

function json(folder: string, path: string): unknown {
  return JSON.parse(readFileSync(join(folder, path), 'utf8'))
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  const { port } = server.address() as { port: number }
  await new Promise((closed) => server.close(closed))
  return port
}
