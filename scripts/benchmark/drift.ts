// Damage of each kind on a healthy node, until every byte, mode and link is as it was; seen by looking at the files
// every 2 ms.
import { chmodSync, lstatSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Generation } from '../../test/fixtures/node/generations.ts'
import { RIVALS } from './rivals.ts'
import { HOST, HOST_FOLDER, Subject } from './subject.ts'
import { type Row, series } from './table.ts'

const POLL_MS = 2
/** Damages come apart from each other: the agent answers the first of a series at once and the rest with a pause. */
const APART_MS = 600

type Damage = {
  readonly id: string
  readonly what: string
  readonly rivals: string
  readonly watched: readonly string[]
  readonly hit: (at: (path: string) => string) => void
}

const CA = `${HOST_FOLDER}/ca.crt`
const HOSTS = `${HOST_FOLDER}/hosts.toml`
const LINK = '/etc/ssl/certs/ca.pem'
const BUNDLE = '/etc/ssl/certs/ca-certificates.crt'

function damages(bundleWithout: Buffer): readonly Damage[] {
  return [
    {
      id: 'drift-ca-file',
      what: 'the CA file is deleted',
      rivals: RIVALS.driftDeleted,
      watched: [CA],
      hit: (at) => rmSync(at(CA)),
    },
    {
      id: 'drift-host-folder',
      what: 'the host folder is deleted',
      rivals: RIVALS.driftDeleted,
      watched: [HOST_FOLDER, CA, HOSTS],
      hit: (at) => rmSync(at(HOST_FOLDER), { recursive: true }),
    },
    {
      id: 'drift-hosts-toml',
      what: 'hosts.toml is altered',
      rivals: RIVALS.driftAltered,
      watched: [HOSTS],
      hit: (at) => writeFileSync(at(HOSTS), 'server = "https://elsewhere.invalid"\n'),
    },
    {
      id: 'drift-mode',
      what: 'the mode of hosts.toml is changed',
      rivals: RIVALS.driftOther,
      watched: [HOSTS],
      hit: (at) => chmodSync(at(HOSTS), 0o600),
    },
    {
      id: 'drift-link',
      what: 'the link in /etc/ssl/certs is deleted',
      rivals: RIVALS.driftOther,
      watched: [LINK],
      hit: (at) => rmSync(at(LINK)),
    },
    {
      id: 'drift-bundle',
      what: 'the CA is taken out of the bundle',
      rivals: RIVALS.driftOther,
      watched: [BUNDLE],
      hit: (at) => writeFileSync(at(BUNDLE), bundleWithout),
    },
  ]
}

export async function measureDrift(generation: Generation, bundle: string, runs: number): Promise<readonly Row[]> {
  const subject = await Subject.start(generation, 'set', bundle)
  try {
    const at = (path: string) => subject.node.path(path)
    const bundleWithout = readFileSync(at(BUNDLE))
    // This many damages of one file are a fight for which the agent would stop.
    const trust = { registries: [{ host: HOST, ca: 'ca.pem' }], drift: { stopAfterFights: 1_000 } }
    await subject.publish(trust, subject.authority.pem)
    await subject.startDaemon()
    await subject.untilPullWorks(performance.now())
    await sleep(APART_MS)
    const rows: Row[] = []
    for (const { id, what, rivals, watched, hit } of damages(bundleWithout)) {
      const good = watched.map((path) => snapshotOf(at(path)))
      const times: number[] = []
      for (let run = 0; run < runs; run++) {
        const since = performance.now()
        hit(at)
        times.push(
          await subject.until(
            () => watched.every((path, index) => snapshotOf(at(path)) === good[index]),
            since,
            POLL_MS,
          ),
        )
        await sleep(APART_MS)
      }
      rows.push(series({ id, what: `drift → healed: ${what}`, values: times, target: 'p95 100 ms', rivals }))
    }
    return rows
  } finally {
    await subject.dispose()
  }
}

/** All that makes up one path; a bundle of 200 KB is read only when its size is right. */
let lastBundle = { key: '', text: '' }

function snapshotOf(path: string): string {
  const stat = lstatSync(path, { throwIfNoEntry: false })
  if (stat === undefined) return 'absent'
  const mode = (stat.mode & 0o7777).toString(8)
  if (stat.isSymbolicLink()) return `link ${readlinkSync(path)}`
  if (stat.isDirectory()) return `folder ${mode} ${readdirSync(path).sort().join(' ')}`
  const key = `${stat.ino} ${stat.mtimeMs} ${stat.size}`
  if (stat.size < 65_536) return `file ${mode} ${readFileSync(path, 'latin1')}`
  if (lastBundle.key !== key) lastBundle = { key, text: readFileSync(path, 'latin1') }
  return `file ${mode} ${lastBundle.text}`
}
