// Whether programs of the node ask the hosts file at all: nsswitch.conf(5) says where names are looked up.
import type { NodeFiles } from '../../model/ports.ts'
import type { TargetAilment } from '../../model/target.ts'
import { HOSTS_FILE } from '../../text/hosts-file.ts'

const NSSWITCH = '/etc/nsswitch.conf'

/**
 * systemd-resolved (`resolve`) answers from the hosts file too (resolved.conf(5), ReadEtcHosts=). Without the file or its
 * line both glibc and Go ask the hosts file first.
 */
export async function examineHostsFile(isUsed: boolean, files: NodeFiles): Promise<readonly TargetAilment[]> {
  if (!isUsed) return []
  const state = await files.readFollowing(NSSWITCH)
  if (state.kind !== 'file') return []
  const lines = state.bytes.toString('latin1').split('\n')
  const at = lines.findIndex((line) => /^\s*hosts\s*:/.test(line))
  const sources = (lines[at] ?? '')
    .replace(/#.*/, '')
    .replace(/^[^:]*:/, '')
    .trim()
    .split(/\s+/)
  const first = sources.findIndex((source) => source === 'files' || source === 'resolve')
  const dns = sources.indexOf('dns')
  if (at < 0 || sources[0] === '' || (first >= 0 && (dns < 0 || first < dns))) return []
  const what =
    first < 0
      ? `does not name files for hosts: no program asks ${HOSTS_FILE}, and \`addresses\` have no effect`
      : `asks dns before ${HOSTS_FILE}: an answer of the name server wins over \`addresses\``
  const remedy = 'Let its line begin with `hosts: files`.'
  return [{ severity: first < 0 ? 'error' : 'warning', where: `${NSSWITCH}:${at + 1}`, what, remedy }]
}
