// What whoever gets a release checks it by: checksums, where it came from, and the commands that sign and verify.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { json, sha256 } from './archive.ts'

export type Subject = { readonly name: string; readonly digest: { readonly sha256: string } }

const PREDICATE = 'https://slsa.dev/provenance/v1'

/** Writes SHA256SUMS over every file that is there. */
export function checksums(out: string): readonly Subject[] {
  const subjects = readdirSync(out)
    .toSorted()
    .map((name) => ({ name, digest: { sha256: sha256(readFileSync(join(out, name))) } }))
  writeFileSync(join(out, 'SHA256SUMS'), subjects.map(({ name, digest }) => `${digest.sha256}  ${name}\n`).join(''))
  return subjects
}

/**
 * An in-toto statement: https://slsa.dev/spec/v1.0/provenance. It holds no time: two builds of one commit are to be
 * compared.
 */
export function provenance(of: {
  readonly subjects: readonly Subject[]
  readonly version: string
  readonly revision: string
  readonly image: string
}): string {
  const repository = 'git+https://github.com/registry-trust/registry-trust-agent'
  return json({
    _type: 'https://in-toto.io/Statement/v1',
    subject: of.subjects,
    predicateType: PREDICATE,
    predicate: {
      buildDefinition: {
        buildType: 'https://github.com/registry-trust/registry-trust-agent/blob/main/scripts/release',
        externalParameters: { version: of.version, image: of.image },
        resolvedDependencies: [{ uri: `${repository}@${of.revision}`, digest: { gitCommit: of.revision } }],
      },
      // Who builds it names himself when he signs; the script has no identity.
      runDetails: {
        builder: { id: 'https://github.com/registry-trust/registry-trust-agent/blob/main/scripts/release' },
      },
    },
  })
}

export function signingCommands(of: {
  readonly subjects: readonly Subject[]
  readonly version: string
  readonly image: string
}): string {
  const { version, image } = of
  return `# Signing registry-trust ${version}

The files of this folder, through their checksums:

\`\`\`sh
cosign sign-blob --key cosign.key --bundle SHA256SUMS.bundle SHA256SUMS
cosign verify-blob --key cosign.pub --bundle SHA256SUMS.bundle SHA256SUMS
sha256sum --check --quiet SHA256SUMS
\`\`\`

The image, after it was pushed, by its digest (registry-trust-${version}-image.digest) and never by its tag:

\`\`\`sh
DIGEST=$(cat registry-trust-${version}-image.digest)
cosign sign --key cosign.key ${image}@$DIGEST
cosign attest --key cosign.key --type cyclonedx --predicate sbom.cdx.json ${image}@$DIGEST
cosign verify --key cosign.pub ${image}@$DIGEST
\`\`\`
`
}
