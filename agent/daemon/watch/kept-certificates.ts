// The certificates in the files that are the agent's alone, wherever a target keeps them, for the series x509_cert_*.
// A file is read again only when the agent has written it anew.
import type { NodeFiles } from '../../model/ports.ts'
import type { AgentState } from '../../model/state.ts'
import type { CertificateFile } from '../../telemetry/certificate-samples.ts'

/**
 * One for the life of the process. Paths are those on the node; a file with several certificates gives several.
 * Undefined: the same as when it was asked before.
 */
export function keptCertificates(
  files: Pick<NodeFiles, 'read'>,
): (owned: AgentState['owned']) => Promise<readonly CertificateFile[] | undefined> {
  let before: ReadonlyMap<string, string> = new Map()
  // A thousand registries may have the same anchor: its text is kept once.
  let texts: ReadonlyMap<string, readonly string[]> = new Map()
  let asked: AgentState['owned'] | undefined
  return async (owned) => {
    // Ownership is never changed in place: what a look leaves as it is, is the same object.
    if (owned === asked) return undefined
    const now = new Map(
      Object.entries(owned).flatMap(([path, { kind, sha256 }]) =>
        kind === 'whole' && mayHoldCertificates(path) ? [[path, sha256] as const] : [],
      ),
    )
    if (now.size === before.size && [...now].every(([path, sha256]) => before.get(path) === sha256)) {
      asked = owned
      return undefined
    }
    const read = new Map<string, readonly string[]>()
    for (const [path, sha256] of now) {
      if (!read.has(sha256)) read.set(sha256, texts.get(sha256) ?? (await certificatesIn(path, files)))
    }
    asked = owned
    before = now
    texts = read
    return [...now].flatMap(([path, sha256]) => (read.get(sha256) ?? []).map((pem) => ({ path, pem })))
  }
}

function mayHoldCertificates(path: string): boolean {
  return /\.(crt|cert|pem)$/.test(path)
}

/** A link leads to a file that is owned too, or that others keep. */
async function certificatesIn(path: string, files: Pick<NodeFiles, 'read'>): Promise<readonly string[]> {
  const file = await files.read(path)
  if (file.kind !== 'file') return []
  return file.bytes.toString('latin1').match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? []
}
