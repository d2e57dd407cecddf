// The part of a support bundle that is read from the --config paths: which files lie there, and the values of those
// that are configuration. CA files are shown by their certificates; of any other file only that it exists.
import { posix } from 'node:path'
import { asAgentError } from '../../model/errors.ts'
import type { InputFile, InputFiles } from '../../model/ports.ts'
import { decodeCertificates } from '../../pki/decode/decode.ts'
import { parseYaml } from '../../text/yaml-tree.ts'
import { withoutUnknown } from './known-keys.ts'

const MOST_BYTES = 1024 * 1024
const MOST_FILES = 500
const MAX_DEPTH = 3
const CONFIGURATION = /\.ya?ml$/
const CERTIFICATES = /\.(pem|crt|cer|der|p7b|p7c|b64)$/i

/** Everything below the --config paths. */
export async function configFiles(paths: readonly string[], inputs: InputFiles): Promise<readonly object[]> {
  const found: object[] = []
  for (const path of paths) await visit(path, 0, found, inputs)
  return found
}

async function visit(path: string, depth: number, found: object[], inputs: InputFiles) {
  if (found.length >= MOST_FILES) return
  const input = await read(path, inputs)
  if (input.kind !== 'folder') {
    found.push({ path, ...describe(path, input) })
    return
  }
  if (depth >= MAX_DEPTH) return
  const names = await inputs.list(path).catch((): readonly string[] => [])
  // What a mounted ConfigMap is made of shows itself under its own names.
  for (const name of names.filter((name) => !name.startsWith('..')))
    await visit(posix.join(path, name), depth + 1, found, inputs)
}

async function read(path: string, inputs: InputFiles): Promise<InputFile> {
  try {
    return await inputs.read(path, { maxBytes: MOST_BYTES })
  } catch (thrown) {
    return { kind: 'unreadable', reason: asAgentError(thrown).message }
  }
}

function describe(path: string, input: InputFile): object {
  if (input.kind !== 'file') return { ...input }
  const { bytes } = input
  if (CONFIGURATION.test(path)) return yamlOf(bytes)
  if (!CERTIFICATES.test(path)) return { notShown: 'it may be a secret' }
  const { certificates, problems } = decodeCertificates(bytes)
  return {
    certificates: certificates.map(({ subject, issuer, fingerprint, notBefore, notAfter }) => {
      return { subject, issuer, fingerprint, notBefore, notAfter }
    }),
    problems: problems.map(({ message }) => message),
  }
}

function yamlOf(bytes: Buffer): object {
  const { tree, problems, position } = parseYaml(bytes.toString('utf8'))
  if (tree !== undefined) return { values: withoutUnknown(tree.value) }
  const told = problems.map(({ at, text }) => `line ${position(at).line}: ${text}`)
  return { bytes: bytes.length, notShown: told.join('; ') }
}
