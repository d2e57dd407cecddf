// The command line for machines without an image: an archive to unpack anywhere, and a Debian package. Both bring their
// own Node.
import { execFileSync } from 'node:child_process'
import { chmodSync, cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { manPage } from '../../agent/cli/completion/man.ts'
import { completionScript } from '../../agent/cli/completion/shells.ts'
import { gzip, normalizeModes, tarOf } from './archive.ts'

const ROOT = join(import.meta.dirname, '../..')
const COMMANDS = ['registry-trust', 'registry-trust-sidecar']

type Program = {
  /** What scripts/image-content.ts made. */
  readonly folder: string
  readonly architecture: string
  readonly version: string
  /** Of gzip: 0 to 9. */
  readonly compression: number
  readonly out: string
}

/** registry-trust-VERSION-linux-ARCHITECTURE.tar.gz: unpack it anywhere and link its commands. */
export function packProgram({ folder, architecture, version, compression, out }: Program): void {
  const name = `registry-trust-${version}-linux-${architecture}`
  const into = join(folder, name)
  program(folder, join(into, 'lib'))
  for (const command of COMMANDS) launcher(join(into, command), command, '"$(dirname -- "$(readlink -f -- "$0")")/lib"')
  cpSync(join(ROOT, 'daemonset/systemd/registry-trust.service'), join(into, 'registry-trust.service'))
  normalizeModes(into)
  writeFileSync(join(out, `${name}.tar.gz`), gzip(tarOf(folder, [name]), compression))
  rmSync(into, { recursive: true })
}

export function packDebian({
  folder,
  architecture,
  version,
  compression,
  out,
  scratch,
}: Program & { readonly scratch: string }): void {
  const tree = join(scratch, `deb-${architecture}`)
  program(folder, join(tree, 'usr/lib/registry-trust'))
  mkdirSync(join(tree, 'usr/bin'), { recursive: true })
  for (const command of COMMANDS) launcher(join(tree, 'usr/bin', command), command, '/usr/lib/registry-trust')
  const unit = readFileSync(join(ROOT, 'daemonset/systemd/registry-trust.service'), 'utf8')
  put(
    join(tree, 'lib/systemd/system'),
    'registry-trust.service',
    unit.replaceAll('/usr/local/bin/', '/usr/bin/').replaceAll('/usr/local/share/doc/', '/usr/share/doc/'),
  )
  const doc = join(tree, 'usr/share/doc/registry-trust')
  put(doc, 'copyright', readFileSync(join(ROOT, 'LICENSE'), 'utf8'))
  put(doc, 'install.md', readFileSync(join(ROOT, 'docs/install.md'), 'utf8'))
  put(join(tree, 'usr/share/man/man8'), 'registry-trust.8.gz', gzip(Buffer.from(manPage(version))))
  put(join(tree, 'usr/share/bash-completion/completions'), 'registry-trust', completionScript('bash'))
  put(join(tree, 'usr/share/zsh/vendor-completions'), '_registry-trust', completionScript('zsh'))
  put(join(tree, 'usr/share/fish/vendor_completions.d'), 'registry-trust.fish', completionScript('fish'))
  const control = join(tree, 'DEBIAN')
  put(control, 'control', controlOf(version, architecture))
  for (const [name, script] of Object.entries(SCRIPTS)) {
    put(control, name, script)
    chmodSync(join(control, name), 0o755)
  }
  normalizeModes(tree)
  const file = join(out, `registry-trust_${version}_${architecture}.deb`)
  const env = { ...process.env, SOURCE_DATE_EPOCH: '0' }
  execFileSync('dpkg-deb', ['--root-owner-group', '-Zgzip', `-z${compression}`, '--build', tree, file], {
    env,
    stdio: ['ignore', 'ignore', 'inherit'],
  })
}

function program(content: string, into: string): void {
  mkdirSync(into, { recursive: true })
  cpSync(join(content, 'node'), join(into, 'node'))
  for (const name of readdirSync(join(content, 'registry-trust')))
    cpSync(join(content, 'registry-trust', name), join(into, name))
}

function launcher(file: string, command: string, library: string): void {
  const lines = [
    '#!/bin/sh',
    `lib=${library}`,
    `exec "$lib/node" --max-semi-space-size=1 "$lib/${command}.cjs" "$@"`,
    '',
  ]
  writeFileSync(file, lines.join('\n'))
  chmodSync(file, 0o755)
}

function put(folder: string, name: string, text: string | Buffer): void {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, name), text)
}

function controlOf(version: string, architecture: string): string {
  return `Package: registry-trust
Version: ${version}
Architecture: ${architecture}
Maintainer: The registry-trust authors <registry-trust@localhost>
Section: admin
Priority: optional
Depends: libc6 (>= 2.28), libstdc++6
Recommends: containerd
Homepage: https://github.com/registry-trust/registry-trust-agent
Description: makes a node trust private registries, and proves it
 Writes CA files and containerd's host directories as trust.yaml says, proves each
 registry with a test pull, and puts everything back when the node is worse.
 The service is not started before you start it: it needs /etc/registry-trust/trust.yaml.
`
}

const SYSTEMD = 'if [ -d /run/systemd/system ]; then'
/**
 * The rule: installing starts nothing, removing changes nothing on the node, and no memory of what was changed is lost.
 */
const SCRIPTS: { readonly [name: string]: string } = {
  postinst: `#!/bin/sh
set -e
${SYSTEMD}
  systemctl daemon-reload
  # An upgrade goes on with the new program where the old one ran.
  if [ "$1" = configure ] && [ -n "\${2-}" ]; then systemctl try-restart registry-trust.service; fi
fi
`,
  prerm: `#!/bin/sh
set -e
if [ "$1" = remove ]; then
  ${SYSTEMD} systemctl disable --now registry-trust.service; fi
  if [ -n "$(ls -A /var/lib/registry-trust 2>/dev/null)" ]; then
    echo "registry-trust: what it wrote stays on this node. To take it off: install the package again and run 'registry-trust uninstall'" >&2
  fi
fi
`,
  postrm: `#!/bin/sh
set -e
${SYSTEMD} systemctl daemon-reload; fi
if [ "$1" = purge ]; then
  # Not by force: what is in it is the memory of how to put the node back.
  rmdir /var/lib/registry-trust 2>/dev/null || true
  rmdir /etc/registry-trust 2>/dev/null || true
fi
`,
}
