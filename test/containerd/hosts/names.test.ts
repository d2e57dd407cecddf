// Which names of hosts a real containerd looks up, and what it loads of a folder without hosts.toml, beside what the
// agent accepts of both. A name that the agent accepts must work with each containerd; one that it refuses must not, or
// the refusal says why it is stricter. A sample runs with the tests. Once, 3,000 names and 203 file names were asked of
// each of containerd 1.6.20, 1.7.24, 2.1.9, 2.2.7, 2.3.4 and 2.4.0-beta.0, without a difference:
// REGISTRY_TRUST_HOST_NAMES=3000 does it again.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readForeignFolder } from '../../../agent/config/foreign/foreign-inputs.ts'
import { checkRegistryHost } from '../../../agent/config/reading/registry-host.ts'
import { hostDirectoryName } from '../../../agent/containerd/hosts/hosts-toml.ts'
import { directoryNames } from '../../../agent/containerd/hosts/lookup.ts'
import { inputFiles } from '../../../agent/node/files/input-files.ts'
import { randomOf } from '../../fixtures/config/decoder-inputs.ts'
import { hostNames } from '../../fixtures/config/host-names.ts'
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

const COUNT = Number(process.env['REGISTRY_TRUST_HOST_NAMES'] ?? 150)
const SEED = Number(process.env['REGISTRY_TRUST_SEED'] ?? 5)
const AT_ONCE = 16
t.setTimeout(60_000 + COUNT * 200)

/** Refusals of names that containerd takes, or looks up as something else than the user thinks. */
const STRICTER = [
  /must be in lower case/,
  /must not be a loopback address/,
  /IPv6 addresses are not supported/,
  /is too long/,
  /must be a name or a valid IPv4 address/,
  /must have a port from 1 to 65535/,
  /must name one host: /,
]

/** Every name that a containerd may look up leads to the port where nothing listens. */
function place(folder: string, name: string): boolean {
  try {
    const path = join(folder, 'certs.d', name)
    if (!path.startsWith(join(folder, 'certs.d/')) || name.includes('/')) return false
    mkdirSync(path, { recursive: true })
    writeFileSync(join(path, 'hosts.toml'), 'server = "https://127.0.0.1:1"\n[host]\n')
    return true
  } catch {
    return false
  }
}

async function inTurns<Item>(items: readonly Item[], work: (item: Item) => Promise<void>): Promise<void> {
  for (let at = 0; at < items.length; at += AT_ONCE) await Promise.all(items.slice(at, at + AT_ONCE).map(work))
}

/** File names of a folder in docker's style. */
function fileNames(count: number): readonly string[] {
  const random = randomOf(SEED)
  const fixed = ['ca.crt', 'ca.CRT', 'ca.cert', 'ca.key', 'ca.pem', 'ca.crt.bak', '.crt', '.x.crt', '..crt', 'a b.crt']
  const more = [
    'x.cer',
    'crt',
    'x.crt~',
    'é.crt',
    'x.crt.crt',
    'x.cert.crt',
    'x.key.cert',
    '.cert',
    'x.Cert',
    'hosts.toml~',
  ]
  const made = Array.from({ length: count }, () =>
    Array.from({ length: 1 + random.below(3) }, () =>
      random.pick(['a', '.', '.crt', '.cert', '.key', '.pem', 'B']),
    ).join(''),
  )
  return [...new Set([...fixed, ...more, ...made])].filter((name) => name !== '.' && !name.startsWith('..'))
}

/** What the agent makes of a file in the folder of a host that has a CA besides. */
async function usedAs(folder: string, name: string): Promise<'ca' | 'client' | 'none'> {
  const read = await readForeignFolder(folder, inputFiles({ freshMs: 0 }))
  if (Object.keys(read?.document.anchors ?? {}).length > 1) return 'ca'
  const isClient = (read?.refused ?? []).some(
    ({ path, text }) => path.endsWith(`/${name}`) && text.includes('not beside'),
  )
  return isClient && name.endsWith('.cert') ? 'client' : 'none'
}

const skip = fixturesUnavailable()
for (const generation of skip === undefined ? generations() : []) {
  t.test(`containerd ${generation.label} and the names that the agent accepts`, async (t) => {
    const folder = shortFolder(t)
    const containerd = await startContainerd(t, generation, folder, sanitisedConfig(generation, folder))
    await listening(containerd.socket)
    const cri = new CriProbe(containerd.socket)
    await until(async () => (await cri.version()).ok)
    const words = async (reference: string) => {
      const pulled = await cri.pull(reference)
      return pulled.ok ? 'pulled' : pulled.message
    }

    await t.test('hosts', async (t) => {
      const names = hostNames(COUNT, SEED)
      const differences: string[] = []
      let accepted = 0
      const isUsed = async (host: string, directory: string) => {
        if (!place(folder, directory)) return false
        const used = /127\.0\.0\.1:1\b/.test(await words(`${host}/x:1`))
        rmSync(join(folder, 'certs.d', directory), { recursive: true })
        return used
      }
      const compare = async (host: string) => {
        const refusal = checkRegistryHost(host)?.text
        if (refusal === undefined) accepted += 1
        const directories = new Set([hostDirectoryName(host, new Set()), ...directoryNames(host).slice(0, -1)])
        for (const directory of refusal === undefined ? directories : [host]) {
          const used = await isUsed(host, directory)
          const isStricter = STRICTER.some((reason) => reason.test(refusal ?? ''))
          if (used !== (refusal === undefined) && !isStricter)
            differences.push(
              `${JSON.stringify(host)} in ${directory}: ${used ? 'used' : 'not used'}; ${refusal ?? 'accepted'}`,
            )
        }
      }
      // That folder is looked up for every other host too.
      await inTurns(
        names.filter((name) => name !== '_default'),
        compare,
      )
      await compare('_default')
      t.same(differences, [])
      t.ok(
        accepted > names.length / 10 && accepted < (names.length * 9) / 10,
        `${accepted} of ${names.length} accepted`,
      )
    })

    await t.test('files of a folder in the style of docker', async (t) => {
      const differences: string[] = []
      const seen = new Set<string>()
      let asked = 0
      await inTurns(fileNames(Math.ceil(COUNT / 5)), async (name) => {
        asked += 1
        const number = asked
        const host = `d${number}.invalid`
        const here = join(folder, 'certs.d', host)
        mkdirSync(here, { recursive: true })
        // No certificate: containerd names the file that it tries to load.
        writeFileSync(join(here, name), 'x')
        const told = await words(`${host}/x:1`)
        const theirs = /unable to load CA/.test(told)
          ? 'ca'
          : /key ?pair|tls: |PEM|open :/.test(told)
            ? 'client'
            : 'none'
        const tree = join(folder, `tree${number}`)
        mkdirSync(join(tree, host), { recursive: true })
        writeFileSync(join(tree, host, 'always.crt'), 'x')
        writeFileSync(join(tree, host, name), 'x')
        const mine = await usedAs(tree, name)
        seen.add(theirs)
        if (mine !== theirs)
          differences.push(`${JSON.stringify(name)}: ${mine}, containerd: ${theirs} (${told.slice(-120)})`)
      })
      t.same(differences, [])
      t.same([...seen].toSorted(), ['ca', 'client', 'none'])
    })
  })
}
