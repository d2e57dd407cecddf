// Every command of the fenced `sh` blocks of the documentation, and where a test runs it. A command that no rule knows fails
// test/deploy/docs-commands.test.ts, and so does a rule that no command needs.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const ROOT = join(import.meta.dirname, '../..')

export type Command = { readonly path: string; readonly text: string }

export type Place =
  /** As it stands, with the real kubectl, on Kubernetes' server library. */
  | { readonly on: 'cluster' }
  /** As it stands, on a fixture node with a private registry; `exits`: the codes that are right there. */
  | { readonly on: 'node'; readonly exits: readonly number[] }
  /** As it stands, on this machine. */
  | { readonly on: 'machine' }
  /** By another test, which holds `as`. */
  | { readonly on: 'other test'; readonly test: string; readonly as: string }
  /** Not run: why not. */
  | { readonly on: 'nowhere'; readonly why: string }

const cluster: Place = { on: 'cluster' }
const node = (...exits: readonly number[]): Place => ({ on: 'node', exits })
const not = (why: string): Place => ({ on: 'nowhere', why })

const NO_KUBELET = 'it needs a kubelet that runs the Pod; what follows the -- is run on the node'
const PRINTERS = 'the column NODE is printed by code of Kubernetes that is no library; the command without grep is run'
const NO_SIGNING = 'it needs a registry, a key and cosign, which no Debian package has'
const CONTAINERD_UNIT =
  'containerd of a systemd node; test/e2e/systemd.test.ts has one, without the log that is looked for'

export const RULES: readonly { readonly like: RegExp; readonly place: Place }[] = [
  // the cluster
  { like: /^kubectl (apply|delete) -k daemonset\/\S+$/, place: cluster },
  { like: /^kubectl -n registry-trust (rollout status|annotate|describe) /, place: cluster },
  { like: /^kubectl -n registry-trust get (?!.*grep)/, place: cluster },
  { like: /^kubectl describe node \$NODE \| grep -A5 Taints$/, place: cluster },
  { like: /^(NODE|AGENT)=/, place: cluster },
  { like: /^kubectl -n registry-trust get pod -o wide \| grep \$NODE$/, place: not(PRINTERS) },
  { like: /^kubectl -n registry-trust logs /, place: not('it needs a kubelet that runs the Pod') },
  { like: /^kubectl -n registry-trust exec \$AGENT -c agent -- registry-trust /, place: not(NO_KUBELET) },
  {
    like: /^helm install /,
    place: not('no Debian package has helm; test/deploy/chart.test.ts asks it where it is on the PATH'),
  },
  // the node
  { like: /^(\.\/scripts\/)?registry-trust plan( --config \.\/my-config)?$/, place: node(0, 2) },
  { like: /^(\.\/scripts\/)?registry-trust apply( --config \.\/my-config| --help)$/, place: node(0) },
  { like: /^\.\/scripts\/registry-trust agent --config \.\/my-config$/, place: node() },
  { like: /^(\.\/scripts\/)?registry-trust (status|inspect corp-root\.pem|uninstall)$/, place: node(0) },
  { like: /^\.\/scripts\/registry-trust (probe|explain) harbor\.example\.net\S*$/, place: node(0) },
  { like: /^\.\/scripts\/registry-trust doctor$/, place: node(0, 3) },
  { like: /^(tail|ls) .*\/var\/lib\/registry-trust\//, place: node(0) },
  { like: /^df -h \/etc \/var\/lib; mount \| grep ' ro,'$/, place: node(0, 1) },
  {
    like: /^crictl version$/,
    place: not('the newest Debian with crictl has another major version; nothing of ours is in it'),
  },
  { like: /^(systemctl status|journalctl -u) containerd\b/, place: not(CONTAINERD_UNIT) },
  {
    like: /^systemctl daemon-reload$/,
    place: { on: 'other test', test: 'systemd-unit.test.ts', as: "['systemctl', 'daemon-reload']" },
  },
  {
    like: /^systemctl enable --now registry-trust\.service$/,
    place: { on: 'other test', test: 'systemd-unit.test.ts', as: "['systemctl', 'enable', '--now', UNIT]" },
  },
  {
    like: /^registry-trust status --listen 127\.0\.0\.1:9461$/,
    place: { on: 'other test', test: 'systemd-unit.test.ts', as: "'--listen', '127.0.0.1:9461'" },
  },
  // this machine
  { like: /^\.\/scripts\/demo$/, place: { on: 'machine' } },
  { like: /^\.\/scripts\/test$/, place: not('it runs this test') },
  { like: /^\.\/scripts\/bench\b/, place: not('it measures for minutes, and a busy machine spoils the figures') },
  {
    like: /^\.\/scripts\/image --output registry-trust-image\.tar$/,
    place: { on: 'other test', test: 'image.ts', as: "'scripts/image'), ['--output'" },
  },
  {
    like: /^curl --request POST .*\/loglevel\?/,
    place: { on: 'other test', test: '../http/commands.test.ts', as: '/loglevel?level=debug&for=' },
  },
  { like: /^cosign (sign|attest) /, place: not(NO_SIGNING) },
]

/** In the order of the documents; a command ends with its line, except after a backslash. */
export function documentedCommands(): readonly Command[] {
  const files = ['README.md', ...inFolder('docs'), ...inFolder('docs/runbooks')]
  return files.flatMap((path) => {
    const text = readFileSync(join(ROOT, path), 'utf8')
    const blocks = [...text.matchAll(/^ *```(?:sh|bash|console)\n([\s\S]*?)^ *```/gm)].map((match) => match[1] ?? '')
    return blocks.flatMap((block) => commandsOf(block).map((line) => ({ path, text: line })))
  })
}

export function rulesFor({ text }: Command): readonly Place[] {
  return RULES.filter(({ like }) => like.test(text)).map(({ place }) => place)
}

/** Commands of a document that are run there. */
export function commandsOn<K extends Place['on']>(
  on: K,
): readonly { readonly command: Command; readonly place: Extract<Place, { on: K }> }[] {
  return documentedCommands().flatMap((command) => {
    const [place] = rulesFor(command)
    return place?.on === on ? [{ command, place: place as Extract<Place, { on: K }> }] : []
  })
}

/** What kubectl exec would start in the Pod: run on the node instead. */
export function insideThePod(): readonly Command[] {
  return documentedCommands().flatMap(({ path, text }) => {
    const inside = / exec \$AGENT -c agent -- (.*)$/.exec(text)?.[1]
    return inside === undefined ? [] : [{ path, text: inside }]
  })
}

function commandsOf(block: string): readonly string[] {
  const lines = block.replaceAll(/\\\n\s*/g, '').split('\n')
  return lines
    .map((line) =>
      line
        .replace(/(^|\s+)#.*$/, '')
        .trim()
        .replaceAll(/ {2,}/g, ' '),
    )
    .filter(Boolean)
}

function inFolder(folder: string): readonly string[] {
  const names = readdirSync(join(ROOT, folder)).filter((name) => name.endsWith('.md'))
  // the page that the others build on comes first
  return [...names.filter((name) => name === 'README.md'), ...names.filter((name) => name !== 'README.md')].map(
    (name) => join(folder, name),
  )
}
