// What is declared is there after one apply, whatever moved between names, anchors and files, on each layout of the
// store; nothing else is; the next plan is empty; and whoever reads between two changes misses no certificate that both
// configurations declare. The reader looks certificates up as OpenSSL does, in the folder and in the bundle; openssl
// itself judges the end of each sequence. Anchors are renamed, split, merged, shared and reordered, change their scope
// and their file names, registries move between them, and what the distribution ships is distrusted and trusted again.
// A run takes 12 random sequences, with REGISTRY_TRUST_FULL=1 it takes 40; once, 2,500 were run without a failure:
// REGISTRY_TRUST_SEQUENCES=2500 runs as many again.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { hostDirectoryName } from '../../../agent/containerd/hosts/hosts-toml.ts'
import { type Certificate, type DesiredState, systemAnchors, trustOf } from '../../../agent/model/desired-state.ts'
import type { Change } from '../../../agent/model/plan.ts'
import { type AgentState, EMPTY_STATE } from '../../../agent/model/state.ts'
import { subjectHash } from '../../../agent/pki/certificate/subject-hash.ts'
import { observeHosts } from '../../../agent/targets/containerd-hosts/observe.ts'
import { planHosts } from '../../../agent/targets/containerd-hosts/plan.ts'
import { planSystemTrust } from '../../../agent/targets/system-trust/debian.ts'
import { observeSystemTrust } from '../../../agent/targets/system-trust/debian-observe.ts'
import { planAnchorStore } from '../../../agent/targets/system-trust/families.ts'
import { observeAnchorStore } from '../../../agent/targets/system-trust/families-observe.ts'
import { type ScratchNode, scratchNode, treeOf } from '../../fixtures/scratch/carry-out.ts'
import { anchor, desired, makeCa, registry, targetInput } from '../../fixtures/scratch/sample.ts'
import { TURN } from '../../fixtures/turn.ts'

const IS_FULL = process.env['REGISTRY_TRUST_FULL'] === '1'
const READ_MEANWHILE = IS_FULL ? 4 : 2
const READER =
  'while :; do openssl verify -no-CApath -no-CAstore -CAfile "$1" "$2" >/dev/null 2>&1 && echo ok || echo missed; [ -e "$(dirname "$2")/stop" ] && exit 0; done'
const SEQUENCES = Number(process.env['REGISTRY_TRUST_SEQUENCES'] ?? (IS_FULL ? 40 : 12))
t.setTimeout(60_000 + SEQUENCES * 1000)

// Three of them have one subject, so that their hash links are numbered, and so has one of the distribution's.
const CAS = ['Same', 'Same', 'Same', 'One', 'Two', 'Three'].map(makeCa)
const SHIPPED = makeCa('Distribution')
const FOREIGN = [makeCa('Same'), SHIPPED]
const ALL = [...CAS, ...FOREIGN]
const CERTS = '/etc/ssl/certs'
const CERTS_D = '/etc/containerd/certs.d'
const HOSTS = ['a.example.net', 'b.example.net:5000', 'c.example.net']

type Layout = {
  readonly name: string
  readonly bundle?: string
  readonly folder?: string
  readonly folders: readonly string[]
  /** Where certificates of the distribution lie that are not to be trusted, or how else it leaves them out. */
  readonly distrust?: 'conf' | 'blocklist'
}

const LAYOUTS: readonly Layout[] = [
  {
    name: 'debian',
    bundle: `${CERTS}/ca-certificates.crt`,
    folder: CERTS,
    folders: ['/usr/local/share/ca-certificates'],
    distrust: 'conf',
  },
  { name: 'plain', folder: CERTS, folders: [] },
  {
    name: 'rhel',
    bundle: '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
    folders: ['/etc/pki/ca-trust/source/anchors', '/etc/pki/ca-trust/source/blocklist'],
    distrust: 'blocklist',
  },
  {
    name: 'suse',
    bundle: '/var/lib/ca-certificates/ca-bundle.pem',
    folders: ['/etc/pki/trust/anchors', '/etc/pki/trust/blocklist'],
    distrust: 'blocklist',
  },
  { name: 'photon', bundle: '/etc/pki/tls/certs/ca-bundle.crt', folders: [] },
]

function layOut(root: string, layout: Layout): ScratchNode {
  const write = (path: string, text: string) => {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text, { mode: 0o644 })
  }
  for (const folder of [
    ...layout.folders,
    '/var/lib',
    '/etc/containerd',
    ...(layout.folder === undefined ? [] : [layout.folder]),
  ]) {
    mkdirSync(join(root, folder), { recursive: true })
  }
  if (layout.bundle !== undefined) write(layout.bundle, FOREIGN.map(({ pem }) => pem).join(''))
  if (layout.folder !== undefined)
    write(`${layout.folder}/${subjectHash(FOREIGN[0]?.pem ?? '')}.0`, FOREIGN[0]?.pem ?? '')
  if (layout.distrust === 'conf') {
    write('/etc/ca-certificates.conf', '# shipped\nmozilla/Distribution.crt\n')
    write('/usr/share/ca-certificates/mozilla/Distribution.crt', SHIPPED.pem)
    symlinkSync('/usr/share/ca-certificates/mozilla/Distribution.crt', join(root, CERTS, 'Distribution.pem'))
    symlinkSync('Distribution.pem', join(root, CERTS, `${subjectHash(SHIPPED.pem)}.0`))
  }
  return scratchNode(root)
}

/** The text at a path of the node, links followed below its root. */
function follow(root: string, path: string): string | undefined {
  const full = join(root, path)
  const stat = lstatSync(full, { throwIfNoEntry: false })
  if (stat === undefined) return undefined
  if (!stat.isSymbolicLink()) return readFileSync(full, 'utf8')
  const to = readlinkSync(full)
  return follow(root, to.startsWith('/') ? to : join(dirname(path), to))
}

/** As OpenSSL looks in a folder: by the subject's hash, from 0 to the first number that is not there. */
function isInFolder(root: string, folder: string, { pem }: Certificate): boolean {
  for (let number = 0; ; number += 1) {
    const text = follow(root, `${folder}/${subjectHash(pem)}.${number}`)
    if (text === undefined) return false
    if (text.includes(pem)) return true
  }
}

function found(root: string, { folder, bundle, distrust }: Layout): ReadonlySet<Certificate> {
  const text = bundle === undefined ? '' : readFileSync(join(root, bundle), 'utf8')
  return new Set(
    ALL.filter(
      (ca) =>
        (folder === undefined || isInFolder(root, folder, ca) || (ca === SHIPPED && distrust === undefined)) &&
        (bundle === undefined || text.includes(ca.pem)),
    ),
  )
}

const configuration = fc.record({
  anchors: fc.uniqueArray(
    fc.record({
      name: fc.constantFrom('corp', 'corp-2', 'lab', 'a'),
      cas: fc.uniqueArray(fc.constantFrom(...CAS, ...FOREIGN.slice(1)), { maxLength: 4 }),
      scope: fc.constantFrom('system', 'system', 'registries'),
    }),
    { selector: ({ name }) => name, maxLength: 4 },
  ),
  registries: fc.uniqueArray(
    fc.record({
      host: fc.constantFrom(...HOSTS),
      names: fc.uniqueArray(fc.constantFrom('corp', 'corp-2', 'lab', 'a'), { maxLength: 3 }),
    }),
    { selector: ({ host }) => host, maxLength: 3 },
  ),
  isShippedDistrusted: fc.boolean(),
  fileName: fc.constantFrom('{name}.pem', '{name}.pem', '{name}.pem', 'x-{name}.pem', 'corp-{name}.pem'),
})

type Configuration = typeof configuration extends fc.Arbitrary<infer Value> ? Value : never

/** An anchor without a certificate would hold its last good ones, which is another matter. */
function desiredOf({ anchors: all, registries, isShippedDistrusted, fileName }: Configuration): DesiredState {
  const base = desired()
  const anchors = all.filter(({ cas }) => cas.length > 0)
  const known = new Set(anchors.map(({ name }) => name))
  // What is an anchor of the node cannot be distrusted: the configuration is refused.
  const isAnchor = anchors.some(({ cas, scope }) => scope === 'system' && cas.includes(SHIPPED))
  return desired({
    ...(isShippedDistrusted && !isAnchor && { distrust: { fingerprints: [SHIPPED.fingerprint], problems: [] } }),
    anchors: anchors.map(({ name, cas, scope }) =>
      scope === 'system' ? anchor(name, ...cas) : { ...anchor(name, ...cas), scope },
    ),
    registries: registries.map(({ host, names }) => registry(host, ...names.filter((name) => known.has(name)))),
    targets: { ...base.targets, systemTrust: { ...base.targets.systemTrust, fileName } },
  })
}

async function plan(node: ScratchNode, wanted: DesiredState, { owned }: AgentState): Promise<readonly Change[]> {
  const input = targetInput(wanted, owned)
  const { files } = node
  const certs = await observeSystemTrust(input, files)
  const store = await observeAnchorStore(input, files)
  const isElsewhere = store.family?.sources !== undefined
  const plans = [...(isElsewhere ? [] : [planSystemTrust(input, certs)]), planAnchorStore(input, store)]
  const hosts = await planHosts(input, await observeHosts(input, CERTS_D, '2.1.9', files))
  return [...hosts.changes, ...plans.flatMap(({ changes }) => changes)]
}

/** What each registry is verified by, as `HOST index`, declared or in the file that its hosts.toml names. */
function declaredForHosts(wanted: DesiredState): ReadonlySet<string> {
  return new Set(
    wanted.registries.flatMap((one) =>
      trustOf(one, wanted).certificates.map(
        ({ fingerprint }) => `${one.host} ${ALL.findIndex((ca) => ca.fingerprint === fingerprint)}`,
      ),
    ),
  )
}

function foundForHosts(root: string): ReadonlySet<string> {
  return new Set(
    HOSTS.flatMap((host) => {
      const folder = `${CERTS_D}/${hostDirectoryName(host, new Set())}`
      const file = join(root, folder, 'ca.crt')
      const text = existsSync(join(root, folder, 'hosts.toml')) && existsSync(file) ? readFileSync(file, 'utf8') : ''
      return ALL.flatMap(({ pem }, at) => (text.includes(pem) ? [`${host} ${at}`] : []))
    }),
  )
}

function declaredIn(wanted: DesiredState): ReadonlySet<Certificate> {
  return new Set(systemAnchors(wanted).flatMap(({ certificates }) => ALL.filter((ca) => certificates.includes(ca))))
}

/** What openssl says of every certificate: the ones that it verifies by the folder, and by the bundle. */
function verified(root: string, { folder, bundle }: Layout): readonly (readonly string[])[] {
  const scratch = mkdtempSync(join(tmpdir(), 'rt-verify-'))
  try {
    const files = ALL.map(({ pem }, at) => {
      writeFileSync(join(scratch, `${at}.pem`), pem)
      return join(scratch, `${at}.pem`)
    })
    const ask = (...store: readonly string[]) => {
      const argv = ['verify', ...store, ...files]
      try {
        return execFileSync('openssl', argv, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
      } catch (error) {
        return (error as { readonly stdout: string }).stdout
      }
    }
    const names = (text: string) => [...text.matchAll(/(\d+)\.pem: OK/g)].map(([, at = '']) => at)
    const answers: (readonly string[])[] = []
    if (bundle !== undefined) answers.push(names(ask('-no-CApath', '-no-CAstore', '-CAfile', join(root, bundle))))
    if (folder !== undefined) {
      // Links of the node lead to absolute paths below its root: openssl gets what they lead to.
      const copy = join(scratch, 'certs')
      mkdirSync(copy)
      for (const name of readdirSync(join(root, folder))) {
        const text = follow(root, `${folder}/${name}`)
        if (text !== undefined) writeFileSync(join(copy, name), text)
      }
      answers.push(names(ask('-no-CAfile', '-no-CAstore', '-CApath', copy)))
    }
    return answers
  } finally {
    rmSync(scratch, { recursive: true })
  }
}

/** @throws where the property does not hold. */
async function run(layout: Layout, configurations: readonly Configuration[]): Promise<void> {
  const root = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'rt-store-'))
  try {
    const node = layOut(root, layout)
    const pristine = JSON.stringify(treeOf(root))
    let state = EMPTY_STATE
    let declared: ReadonlySet<Certificate> = new Set()
    let forHosts: ReadonlySet<string> = new Set()
    let wasOut = false
    const step = async (wanted: DesiredState) => {
      const next = declaredIn(wanted)
      const staying = [...declared].filter((ca) => next.has(ca))
      const isOut = layout.distrust !== undefined && wanted.distrust !== undefined
      const shipped = FOREIGN.filter((ca) => ca !== SHIPPED || !(isOut || wasOut))
      const nextForHosts = declaredForHosts(wanted)
      const stayingForHosts = [...forHosts].filter((one) => nextForHosts.has(one))
      for (const change of await plan(node, wanted, state)) {
        state = await node.carryOut([change], state)
        const now = found(root, layout)
        const missed = [...staying, ...(layout.bundle === undefined ? [] : shipped)].filter((ca) => !now.has(ca))
        if (missed.length > 0) throw new Error(`after ${change.action} ${change.path}: ${names(missed)} is missed`)
        const nowForHosts = foundForHosts(root)
        const lost = stayingForHosts.filter((one) => !nowForHosts.has(one))
        if (lost.length > 0) throw new Error(`after ${change.action} ${change.path}: ${lost.join(', ')} is lost`)
      }
      const now = found(root, layout)
      const isForeign = (ca: Certificate) => FOREIGN.includes(ca)
      const missing = [...next].filter((ca) => !now.has(ca))
      const toomany = [...now].filter((ca) => !next.has(ca) && !isForeign(ca))
      if (missing.length > 0) throw new Error(`${names(missing)} is declared and missing`)
      if (layout.bundle !== undefined && now.has(SHIPPED) === isOut)
        throw new Error(`what the distribution ships is ${isOut ? 'distrusted and there' : 'missing'}`)
      if (toomany.length > 0) throw new Error(`${names(toomany)} is there and not declared`)
      const [is, should] = [foundForHosts(root), nextForHosts].map((one) => [...one].sort().join())
      if (is !== should) throw new Error(`registries are verified by ${is} instead of ${should}`)
      forHosts = nextForHosts
      const left = await plan(node, wanted, state)
      if (left.length > 0)
        throw new Error(`the next plan: ${left.map(({ action, path }) => `${action} ${path}`).join(', ')}`)
      declared = next
      wasOut = isOut
    }
    for (const one of configurations) await step(desiredOf(one))
    for (const answer of verified(root, layout)) {
      const wrong = ALL.filter((ca, at) => !FOREIGN.includes(ca) && answer.includes(`${at}`) !== declared.has(ca))
      if (wrong.length > 0) throw new Error(`openssl is of another opinion about ${names(wrong)}`)
    }
    await step(desired())
    if (JSON.stringify(treeOf(root)) !== pristine) throw new Error('what is left is not as before')
  } finally {
    rmSync(root, { recursive: true })
  }
}

function names(cas: readonly Certificate[]): string {
  return cas.map((ca) => `${ca.subject} (${ALL.indexOf(ca)})`).join(', ')
}

t.test('every sequence of configurations ends with what it declares, and loses nothing on the way', async (t) => {
  const sequence = fc.array(configuration, { minLength: 2, maxLength: 5 })
  await fc.assert(fc.asyncProperty(fc.constantFrom(...LAYOUTS), sequence, run), { numRuns: SEQUENCES })
  t.pass(`${SEQUENCES} sequences`)
})

t.test('openssl, asked all the time meanwhile, never misses what stays declared', async (t) => {
  const debian = LAYOUTS[0]
  const always = CAS[3]
  if (debian === undefined || always === undefined) throw new Error('there is no layout')
  const sequence = fc.array(configuration, { minLength: 3, maxLength: 5 })
  for (const configurations of fc.sample(sequence, { numRuns: READ_MEANWHILE, seed: 1 + TURN })) {
    const root = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'rt-store-'))
    const node = layOut(root, debian)
    const wantedOf = (one: Configuration): DesiredState => {
      const wanted = desiredOf(one)
      return { ...wanted, anchors: [...wanted.anchors, anchor('always', always)] }
    }
    let state = EMPTY_STATE
    const step = async (wanted: DesiredState) => {
      state = await node.carryOut(await plan(node, wanted, state), state)
    }
    await step(desired({ anchors: [anchor('always', always)] }))
    writeFileSync(join(root, 'always.pem'), always.pem)
    const reader = spawn('sh', ['-c', READER, 'sh', join(root, debian.bundle ?? ''), join(root, 'always.pem')])
    let told = ''
    reader.stdout.on('data', (data: Buffer) => {
      told += data
    })
    while (!told.includes('ok')) await new Promise((resolve) => setTimeout(resolve, 5))
    for (const one of configurations) await step(wantedOf(one))
    const ended = once(reader, 'exit')
    writeFileSync(join(root, 'stop'), '')
    await ended
    t.notMatch(told, /missed/, `${told.split('ok').length - 1} looks`)
    rmSync(root, { recursive: true })
  }
})
