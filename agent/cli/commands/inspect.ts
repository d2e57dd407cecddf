// `registry-trust inspect FILE…`: what is really in a CA file, and whether it can serve as an anchor. Reads files,
// changes nothing.
import { AgentError, type Problem, problem } from '../../model/errors.ts'
import type { InputFile } from '../../model/ports.ts'
import { Secret } from '../../model/secret.ts'
import { judgeCertificates } from '../../pki/anchor/judge.ts'
import { remarksOn, repeatedRemark } from '../../pki/anchor/remarks.ts'
import { ANCHOR_MAX_BYTES, decodeCertificates } from '../../pki/decode/decode.ts'
import { readSystemRoots } from '../../reconcile/observe/system-roots.ts'
import type { Inspection } from '../output/inspection.ts'
import { formatInspection } from '../output/probe.ts'
import type { Wiring } from '../wiring.ts'

type Judged = { readonly inspection: Inspection; readonly isUsable: boolean }

const MIN_RSA_BITS = 2048
const PASSWORD_MAX_BYTES = 4096

export async function inspectCommand(wiring: Wiring): Promise<number> {
  const { options, inputs, files, ports, paint, print } = wiring
  const password = await readPassword(options.passwordFile, inputs)
  const system = new Set((await readSystemRoots(files)).map(({ fingerprint }) => fingerprint))
  const judged: Judged[] = []
  for (const file of options.operands) {
    const input = await inputs.read(file, { maxBytes: ANCHOR_MAX_BYTES })
    judged.push(inspectInput(file, input, { password, system, now: ports.clock.now() }))
  }
  const inspections = judged.map(({ inspection }) => inspection)
  print(
    options.json
      ? `${JSON.stringify(inspections, null, 2)}\n`
      : inspections.map((one) => formatInspection(one, paint)).join('\n'),
  )
  return judged.every(({ isUsable }) => isUsable) ? 0 : 1
}

type InspectOptions = {
  readonly password: Secret | undefined
  readonly system: ReadonlySet<string>
  readonly now: number
}

export function inspectInput(file: string, input: InputFile, { password, system, now }: InspectOptions): Judged {
  if (input.kind !== 'file') {
    return {
      inspection: { file, encoding: [], certificates: [], findings: [unreadable(file, input)] },
      isUsable: false,
    }
  }
  const { certificates, problems, encoding, repeated } = decodeCertificates(input.bytes, { password })
  const judged = judgeCertificates(certificates, { now, minRsaBits: MIN_RSA_BITS })
  const accepted = new Set(judged.certificates.map(({ fingerprint }) => fingerprint))
  const remarks = certificates
    .filter(({ fingerprint }) => accepted.has(fingerprint))
    .flatMap((certificate) => remarksOn(certificate, { now, system }))
  const inspection = {
    file,
    encoding,
    certificates: certificates.map(({ subject, issuer, fingerprint, notBefore, notAfter, isCa }) => {
      return { subject, issuer, fingerprint, notBefore, notAfter, isCa }
    }),
    findings: [...problems, ...judged.problems, ...remarks, ...repeated.map(repeatedRemark)],
  }
  return { inspection, isUsable: judged.certificates.length > 0 }
}

function unreadable(file: string, input: Exclude<InputFile, { kind: 'file' }>): Problem {
  switch (input.kind) {
    case 'absent':
      return problem('ANCHOR_MISSING', `${file} does not exist`)
    case 'folder':
      return problem('ANCHOR_UNREADABLE', `${file} is a folder`)
    case 'too-large':
      return problem(
        'ANCHOR_TOO_LARGE',
        `${file} has ${input.bytes} bytes, more than the ${ANCHOR_MAX_BYTES} that one anchor may hold`,
      )
    case 'unreadable':
      return problem('ANCHOR_UNREADABLE', `${file} cannot be read: ${input.reason}`)
    default:
      throw input satisfies never
  }
}

async function readPassword(path: string | undefined, inputs: Wiring['inputs']): Promise<Secret | undefined> {
  if (path === undefined) return undefined
  const input = await inputs.read(path, { maxBytes: PASSWORD_MAX_BYTES })
  if (input.kind !== 'file')
    throw new AgentError(
      'ANCHOR_UNREADABLE',
      `--password-file: ${path} is not a readable file of at most ${PASSWORD_MAX_BYTES} bytes`,
    )
  const [line = ''] = input.bytes.toString('utf8').split(/\r?\n/, 1)
  return new Secret(line)
}
