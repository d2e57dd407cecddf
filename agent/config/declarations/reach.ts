// Which files a fragment may name: those of its own folder alone. Otherwise one team could have another team's password
// sent to its own registry, or its certificates taken for an anchor of its own.
import type { Declarations, DeclaredAnchor, DeclaredRegistry } from '../reading/declared.ts'
import type { InputLookup } from '../reading/input-lookup.ts'
import type { Report } from '../reading/report.ts'

export async function checkReach(
  { anchors, registries }: Declarations,
  lookup: InputLookup,
  report: Report,
): Promise<void> {
  for (const declared of [...anchors, ...registries]) {
    const { file, pointer } = declared
    if (!file.isFragment) continue
    for (const [key, name] of 'name' in declared ? filesOfAnchor(declared) : filesOfRegistry(declared)) {
      const at = `${pointer}/${key}`
      const why = name === undefined ? undefined : await lookup.whyOutOfReach(name, file)
      if (why !== undefined) report.add('FRAGMENT_NOT_ALLOWED', file.place(at, 'value'), file.subject(at), why)
    }
  }
}

type NamedFile = readonly [key: string, name: string | undefined]

function filesOfAnchor({ entry }: DeclaredAnchor): readonly NamedFile[] {
  return [
    ['file', entry.file],
    ['passwordFile', entry.passwordFile],
  ]
}

function filesOfRegistry({ entry }: DeclaredRegistry): readonly NamedFile[] {
  const { dockerConfigFile, usernameFile, passwordFile, tokenFile } = entry.credentials ?? {}
  return [
    ['ca', entry.ca],
    ['clientCertificate/certFile', entry.clientCertificate?.certFile],
    ['clientCertificate/keyFile', entry.clientCertificate?.keyFile],
    ['credentials/dockerConfigFile', dockerConfigFile],
    ['credentials/usernameFile', usernameFile],
    ['credentials/passwordFile', passwordFile],
    ['credentials/tokenFile', tokenFile],
  ]
}
