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

type Release = { readonly version: string; readonly image: string }

/** For who publishes it. The test runs these lines as they stand here. */
export function signingCommands({ version, image }: Release): string {
  return `# Signing registry-trust ${version}

With cosign 3 and a key of your own (\`cosign generate-key-pair\`), without a network: the signing configuration names no
service. With the public services of Sigstore leave \`--signing-config\` out here, and \`--insecure-ignore-tlog\` below.

The files of this folder, through their checksums, and where they came from:

\`\`\`sh
cosign signing-config create --out no-services.json
cosign sign-blob --yes --signing-config no-services.json --key cosign.key --bundle SHA256SUMS.sigstore.json SHA256SUMS
cosign attest-blob --yes --signing-config no-services.json --key cosign.key --statement provenance.intoto.json \\
  --bundle provenance.sigstore.json
\`\`\`

The image, after it was pushed, by its digest (registry-trust-${version}-image.digest) and never by its tag:

\`\`\`sh
IMAGE=${image}@$(cat registry-trust-${version}-image.digest)
cosign sign --yes --signing-config no-services.json --key cosign.key "$IMAGE"
cosign attest --yes --signing-config no-services.json --key cosign.key --type cyclonedx --predicate sbom.cdx.json "$IMAGE"
\`\`\`

Publish cosign.pub, SHA256SUMS.sigstore.json and provenance.sigstore.json with the files.
`
}

/** For who gets it: the last section of the release notes. */
export function verifyingCommands({ version, image }: Release): string {
  return `
## Verifying

With cosign.pub from another place than these files, and cosign 3:

\`\`\`sh
cosign verify-blob --key cosign.pub --insecure-ignore-tlog --bundle SHA256SUMS.sigstore.json SHA256SUMS
sha256sum --check --quiet --ignore-missing SHA256SUMS
for file in registry-trust*.tar.gz registry-trust*.deb install-*.yaml; do
  cosign verify-blob-attestation --key cosign.pub --insecure-ignore-tlog --type slsaprovenance1 \\
    --bundle provenance.sigstore.json "$file" || exit 1
done
\`\`\`

The image:

\`\`\`sh
IMAGE=${image}@$(cat registry-trust-${version}-image.digest)
cosign verify --key cosign.pub --insecure-ignore-tlog "$IMAGE"
cosign verify-attestation --key cosign.pub --insecure-ignore-tlog --type cyclonedx "$IMAGE"
\`\`\`
`
}
