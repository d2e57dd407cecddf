// Which certificates the distribution ships, as `update-ca-certificates` finds them: named in /etc/ca-certificates.conf,
// a line that begins with "!" being one that is not to be trusted (update-ca-certificates(8)).
import { posix } from 'node:path'
import type { FileState, NodeFiles } from '../../model/ports.ts'
import { subjectHash } from '../../pki/certificate/subject-hash.ts'
import { readSettledText } from '../files/observe.ts'
import { firstFingerprint } from './bundle.ts'

export const CONF = '/etc/ca-certificates.conf'
export const SHIPPED = '/usr/share/ca-certificates'

export type Shipped = {
  /** As the file says it: `mozilla/ISRG_Root_X1.crt`. */
  readonly name: string
  readonly isOff: boolean
  /** Its line in the file, from 0. */
  readonly line: number
  /** As it stands in the bundle. */
  readonly pem: string
  readonly fingerprint: string
  /** Where its link is in /etc/ssl/certs. */
  readonly link: string
  readonly hash: string | undefined
}

export type ObservedDistrust = {
  readonly conf: FileState
  readonly isConfWritable: boolean
  readonly shipped: readonly Shipped[]
}

const MOST_LINES = 2_000

/** `certs`: the folder of the links. */
export async function observeShipped(certs: string, files: NodeFiles): Promise<ObservedDistrust> {
  const conf = await readSettledText(CONF, files)
  const isConfWritable = await files.isWritable(posix.dirname(CONF))
  if (conf.kind !== 'file') return { conf, isConfWritable, shipped: [] }
  const shipped: Shipped[] = []
  for (const [line, text] of confLines(conf.bytes.toString('utf8')).slice(0, MOST_LINES).entries()) {
    if (text === '' || text.startsWith('#')) continue
    const isOff = text.startsWith('!')
    const name = isOff ? text.slice(1) : text
    if (name.split('/').includes('..')) continue
    const state = await files.readFollowing(`${SHIPPED}/${name}`)
    const fingerprint = state.kind === 'file' ? firstFingerprint(state.bytes) : undefined
    if (state.kind !== 'file' || fingerprint === undefined) continue
    const pem = state.bytes.toString('utf8').replace(/([^\n])$/, '$1\n')
    shipped.push({ name, isOff, line, pem, fingerprint, link: `${certs}/${linkName(name)}`, hash: subjectHash(pem) })
  }
  return { conf, isConfWritable, shipped }
}

/** Without line ends. */
export function confLines(text: string): readonly string[] {
  return text.split('\n')
}

/** As its function `add` makes it. */
function linkName(name: string): string {
  return `${posix.basename(name, '.crt').replaceAll(' ', '_').replaceAll(/[()]/g, '=').replaceAll(',', '_')}.pem`
}
