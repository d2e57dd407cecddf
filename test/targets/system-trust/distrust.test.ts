// Certificates of the distribution that the node shall not trust. The oracle is Debian's own update-ca-certificates (and
// openssl rehash) on a second tree with the same /etc/ca-certificates.conf: links, hash links and bundle are the same,
// byte for byte, and a run of the tool on our tree changes nothing.
import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import type { Certificate, DesiredState } from '../../../agent/model/desired-state.ts'
import { problem } from '../../../agent/model/errors.ts'
import { type AgentState, EMPTY_STATE } from '../../../agent/model/state.ts'
import { planSystemTrust } from '../../../agent/targets/system-trust/debian.ts'
import { observeSystemTrust, SYSTEM_CERTS } from '../../../agent/targets/system-trust/debian-observe.ts'
import { planAnchorStore } from '../../../agent/targets/system-trust/families.ts'
import { FAMILIES, observeAnchorStore } from '../../../agent/targets/system-trust/families-observe.ts'
import { type ScratchNode, scratchNode, treeOf } from '../../fixtures/scratch/carry-out.ts'
import { anchor, desired, makeCa, targetInput } from '../../fixtures/scratch/sample.ts'

t.setTimeout(120_000)

// Three of one subject, so that their hash links are numbered; a name that the tool spells differently.
const SHIPPED: readonly (readonly [name: string, ca: Certificate])[] = [
  ['mozilla/Same_A.crt', makeCa('Same')],
  ['mozilla/Root (One), Ltd.crt', makeCa('One')],
  ['mozilla/Same_B.crt', makeCa('Same')],
  ['other/Two.crt', makeCa('Two')],
  ['mozilla/Same_C.crt', makeCa('Same')],
]
const corp = makeCa('Same')
const lab = makeCa('Lab')
const CONF = '/etc/ca-certificates.conf'
const CONF_TEXT = `# a comment\n#\n${SHIPPED.map(([name]) => `${name}\n`).join('')}`

function layOut(root: string, conf = CONF_TEXT): void {
  const write = (path: string, text: string) => writeFileSync(join(root, path), text)
  for (const folder of ['etc/ssl/certs', 'usr/local/share/ca-certificates', 'var/lib', 'tmp'])
    mkdirSync(join(root, folder), { recursive: true })
  for (const folder of ['mozilla', 'other'])
    mkdirSync(join(root, 'usr/share/ca-certificates', folder), { recursive: true })
  for (const [name, { pem }] of SHIPPED) write(`usr/share/ca-certificates/${name}`, pem)
  write(CONF, conf)
}

/** The distribution's own tool, on a tree that it takes for the root: its links lead to where they would on a node. */
function updateCaCertificates(root: string): void {
  // The tree is the root of a mount namespace of its own, so that links lead where they would on a node.
  const binds = ['/bin', '/usr/bin', '/usr/sbin', '/usr/lib', '/lib', '/lib64', '/dev']
  const script = [
    ...binds.map((path) => `mkdir -p "$1${path}" && mount --rbind -o ro ${path} "$1${path}"`),
    'exec chroot "$1" /usr/sbin/update-ca-certificates --hooksdir /none',
  ].join(' && ')
  execFileSync('unshare', ['-m', 'sh', '-ec', script, 'sh', root], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { PATH: process.env['PATH'], LC_ALL: 'C', TMPDIR: '/tmp' },
  })
  for (const path of ['bin', 'usr/bin', 'usr/sbin', 'usr/lib', 'lib', 'lib64', 'dev'])
    rmSync(join(root, path), { recursive: true, force: true })
}

function store(root: string): { readonly [name: string]: string } {
  const folder = join(root, SYSTEM_CERTS)
  const entries = readdirSync(folder, { withFileTypes: true })
  return Object.fromEntries(
    entries.map((entry) => {
      const path = join(folder, entry.name)
      return [entry.name, entry.isSymbolicLink() ? `-> ${readlinkSync(path)}` : readFileSync(path, 'utf8')]
    }),
  )
}

async function planOn(node: ScratchNode, wanted: DesiredState, { owned }: AgentState) {
  const input = targetInput(wanted, owned)
  return planSystemTrust(input, await observeSystemTrust(input, node.files))
}

const reconcile = async (node: ScratchNode, wanted: DesiredState, state: AgentState) =>
  node.carryOut((await planOn(node, wanted, state)).changes, state)

function distrusting(cas: readonly Certificate[], parts: Partial<DesiredState> = {}): DesiredState {
  return desired({ ...parts, distrust: { fingerprints: cas.map(({ fingerprint }) => fingerprint), problems: [] } })
}

async function onNode(work: (root: string) => Promise<void>): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), 'rt-distrust-'))
  try {
    layOut(root)
    updateCaCertificates(root)
    await work(root)
  } finally {
    rmSync(root, { recursive: true })
  }
}

/** What the tool makes of the same configuration, from nothing. */
function oracle(conf: string, local: readonly (readonly [string, Certificate])[]): { readonly [name: string]: string } {
  const root = mkdtempSync(join(tmpdir(), 'rt-oracle-'))
  try {
    layOut(root, conf)
    for (const [name, { pem }] of local) writeFileSync(join(root, 'usr/local/share/ca-certificates', name), pem)
    updateCaCertificates(root)
    return store(root)
  } finally {
    rmSync(root, { recursive: true })
  }
}

const cas = SHIPPED.map(([, ca]) => ca)

t.test('what the distribution ships goes and comes as update-ca-certificates would have it', async (t) => {
  const subsets = fc.array(fc.subarray([0, 1, 2, 3, 4], { minLength: 0 }), { minLength: 1, maxLength: 2 })
  await fc.assert(
    fc.asyncProperty(subsets, fc.boolean(), (steps, hasAnchors) =>
      onNode(async (root) => {
        const node = scratchNode(root)
        const pristine = treeOf(root)
        const anchors = hasAnchors ? [anchor('corp', corp), anchor('lab', lab)] : []
        let state = EMPTY_STATE
        for (const step of steps) {
          const out = step.flatMap((at) => cas[at] ?? [])
          const wanted = distrusting(out, { anchors })
          state = await reconcile(node, wanted, state)
          const again = await planOn(node, wanted, state)
          if (again.changes.length > 0) throw new Error(`left to do: ${again.changes.map(({ path }) => path).join()}`)
          const conf = SHIPPED.reduce(
            (text, [name, ca]) => (out.includes(ca) ? text.replace(`\n${name}\n`, `\n!${name}\n`) : text),
            CONF_TEXT,
          )
          t.equal(readFileSync(join(root, CONF), 'utf8'), conf)
          const local = anchors.flatMap(({ name, certificates }) =>
            certificates.map((one) => [`${name}.crt`, one] as const),
          )
          const [is, should] = [store(root), oracle(conf, local)]
          t.equal(is['ca-certificates.crt'], should['ca-certificates.crt'], 'the bundle, content and order')
          t.same(
            verifiedBy(root, [...cas, corp, lab]),
            [...cas.filter((ca) => !out.includes(ca)), ...(hasAnchors ? [corp, lab] : [])]
              .map((ca) => ca.fingerprint)
              .sort(),
          )
          if (!hasAnchors) t.same(numbersFree(is), numbersFree(should), 'links and hash links')
          const before = store(root)
          updateCaCertificates(root)
          t.same(store(root), before, 'a run of the tool changes nothing')
        }
        state = await reconcile(node, desired(), state)
        t.same(treeOf(root), pristine, 'undone byte for byte')
        t.same(state.owned, {})
      }),
    ),
    { numRuns: Number(process.env['REGISTRY_TRUST_FULL'] === '1' ? 60 : 3), seed: 20261126 },
  )
})

/** Who of one subject has which number is the tool's own history: the set of them, and that there is no gap. */
function numbersFree(links: { readonly [name: string]: string }): readonly string[] {
  return Object.entries(links)
    .filter(([name]) => name !== 'ca-certificates.crt')
    .flatMap(([name, to]) => (/\.\d$/.test(name) ? [name, `${name.slice(0, 8)} ${to}`] : [`${name} ${to}`]))
    .sort()
}

/** Fingerprints that openssl verifies by the folder, each link followed below the root. */
function verifiedBy(root: string, all: readonly Certificate[]): readonly string[] {
  const scratch = mkdtempSync(join(tmpdir(), 'rt-verify-'))
  try {
    const certs = join(scratch, 'certs')
    mkdirSync(certs)
    for (const entry of readdirSync(join(root, SYSTEM_CERTS))) {
      let at = `${SYSTEM_CERTS}/${entry}`
      for (let hop = 0; hop < 4; hop++) {
        try {
          const to = readlinkSync(join(root, at))
          at = to.startsWith('/') ? to : `${SYSTEM_CERTS}/${to}`
        } catch {
          break
        }
      }
      cpSync(join(root, at), join(certs, entry))
    }
    return all
      .filter(({ pem }, index) => {
        const file = join(scratch, `${index}.pem`)
        writeFileSync(file, pem)
        try {
          execFileSync('openssl', ['verify', '-no-CAfile', '-no-CAstore', '-CApath', certs, file], { stdio: 'ignore' })
          return true
        } catch {
          return false
        }
      })
      .map(({ fingerprint }) => fingerprint)
      .sort()
  } finally {
    rmSync(scratch, { recursive: true })
  }
}

t.test('a line that somebody else turned off stays off', (t) =>
  onNode(async (root) => {
    writeFileSync(join(root, CONF), CONF_TEXT.replace('other/Two.crt', '!other/Two.crt'))
    updateCaCertificates(root)
    const node = scratchNode(root)
    const pristine = treeOf(root)
    const wanted = distrusting(cas.slice(3, 4))
    t.same(await planOn(node, wanted, EMPTY_STATE), { changes: [], problems: [] })
    const state = await reconcile(node, distrusting(cas.slice(2, 4)), EMPTY_STATE)
    await reconcile(node, desired(), state)
    t.same(treeOf(root), pristine)
  }),
)

t.test('a package that turns it on again is drift, and put right', (t) =>
  onNode(async (root) => {
    const node = scratchNode(root)
    const wanted = distrusting(cas.slice(0, 2))
    const state = await reconcile(node, wanted, EMPTY_STATE)
    const good = treeOf(root)
    writeFileSync(join(root, CONF), CONF_TEXT)
    updateCaCertificates(root)
    const plan = await planOn(node, wanted, state)
    t.same(plan.distrusts, wanted.distrust?.fingerprints, 'it says what would leave the trust of the node')
    await node.carryOut(plan.changes, state)
    t.same(treeOf(root), good)
  }),
)

t.test('while its file cannot be read, nothing comes back', (t) =>
  onNode(async (root) => {
    const node = scratchNode(root)
    const state = await reconcile(node, distrusting(cas.slice(0, 1)), EMPTY_STATE)
    const broken = { fingerprints: [], problems: [problem('ANCHOR_MISSING', 'gone')] }
    t.same((await planOn(node, desired({ distrust: broken }), state)).changes, [])
    const off = desired({ distrust: broken })
    const { systemTrust } = off.targets
    const targets = { ...off.targets, systemTrust: { ...systemTrust, enabled: 'off' as const } }
    t.not((await planOn(node, { ...off, targets }, state)).changes.length, 0, 'but it does with the target')
  }),
)

t.test('a local anchor of the node is left alone, and told', (t) =>
  onNode(async (root) => {
    writeFileSync(join(root, 'usr/local/share/ca-certificates/mine.crt'), cas[3]?.pem ?? '')
    updateCaCertificates(root)
    const plan = await planOn(scratchNode(root), distrusting(cas.slice(3, 4)), EMPTY_STATE)
    t.match(plan.problems, [{ code: 'DISTRUST_NOT_POSSIBLE', message: /stays trusted by .*mine\.crt/ }])
  }),
)

t.test('without the file of the distribution nothing is done, and it is told', async (t) => {
  const node = scratchNode(
    t.testdir({ etc: { ssl: { certs: { 'ca-certificates.crt': cas[0]?.pem ?? '' } } }, var: {} }),
  )
  const plan = await planOn(node, distrusting(cas.slice(0, 1)), EMPTY_STATE)
  t.match(plan, { changes: [], problems: [{ code: 'DISTRUST_NOT_POSSIBLE', message: /ca-certificates\.conf/ }] })
})

for (const name of ['rhel', 'suse'] as const) {
  t.test(`${name}: a copy in the blocklist, out of the bundle, and back byte for byte`, async (t) => {
    const root = t.testdir({ var: { lib: {} } })
    const { bundle = '', sources = '', blocklists = [] } = FAMILIES[name] ?? {}
    const write = (path: string, text?: string) => {
      mkdirSync(join(root, text === undefined ? path : join(path, '..')), { recursive: true })
      if (text !== undefined) writeFileSync(join(root, path), text)
    }
    write(sources)
    write(blocklists[0] ?? '')
    write(bundle, cas.map(({ pem }, index) => `# Root ${index}\n${pem}\n`).join(''))
    const node = scratchNode(root)
    const pristine = treeOf(root)
    const planned = async (wanted: DesiredState, { owned }: AgentState) => {
      const input = { desired: wanted, owned }
      const backup = (digest: string) => node.store.backup(digest)
      return planAnchorStore(input, await observeAnchorStore(input, node.files, backup))
    }
    let state = EMPTY_STATE
    const anchors = [anchor('lab', lab)]
    for (const out of [[cas[0]], [cas[0], cas[2], cas[4]], [cas[2]], []]) {
      const wanted = distrusting(
        out.flatMap((ca) => ca ?? []),
        { anchors },
      )
      state = await node.carryOut((await planned(wanted, state)).changes, state)
      t.same((await planned(wanted, state)).changes, [])
      const text = readFileSync(join(root, bundle), 'utf8')
      for (const ca of cas) t.equal(text.includes(ca.pem), !out.includes(ca))
      const blocked = readdirSync(join(root, blocklists[0] ?? '')).map((file) =>
        readFileSync(join(root, blocklists[0] ?? '', file), 'utf8'),
      )
      t.same(blocked.sort(), out.flatMap((ca) => ca?.pem ?? []).sort())
    }
    state = await node.carryOut((await planned(desired(), state)).changes, state)
    t.same(treeOf(root), pristine)
    t.same(state.owned, {})
  })
}
