// Configurations of any size: registries that share anchors by turns, as a fleet of teams has them.
import { execFile } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const AT_ONCE = 4

export function scaleTrust(registries: number, anchors: number): object {
  const names = Array.from({ length: anchors }, (_, index) => `anchor-${index}`)
  return {
    anchors: Object.fromEntries(names.map((name, index) => [name, { file: `ca-${index}.pem` }])),
    registries: Array.from({ length: registries }, (_, index) => ({
      host: `r${index}.registries.test`,
      anchors: [names[index % anchors]],
    })),
  }
}

/** Self-signed CAs, made once and kept beside the temporary files of this machine. */
export async function scaleAnchors(count: number): Promise<readonly string[]> {
  const folder = join(tmpdir(), 'registry-trust-scale-anchors')
  await mkdir(folder, { recursive: true })
  const pems: string[] = []
  for (let from = 0; from < count; from += AT_ONCE) {
    const part = Array.from({ length: Math.min(AT_ONCE, count - from) }, (_, index) => anchor(folder, from + index))
    pems.push(...(await Promise.all(part)))
  }
  return pems
}

async function anchor(folder: string, index: number): Promise<string> {
  const path = join(folder, `ca-${index}.pem`)
  const kept = await readFile(path, 'utf8').catch(() => '')
  if (kept.endsWith('-----END CERTIFICATE-----\n')) return kept
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', '/dev/null']
  const extension = ['-addext', 'keyUsage=critical,keyCertSign,cRLSign', '-addext', 'basicConstraints=critical,CA:TRUE']
  const subject = ['-subj', `/O=Scale/CN=Scale CA ${index}`, '-days', '3650']
  const { stdout } = await run('openssl', ['req', '-x509', ...key, ...subject, ...extension])
  await writeFile(path, stdout)
  return stdout
}
