// Before a certificate of the distribution is taken out of the system store: which declared registries are verified by
// it alone? These would lose their chain with containerd's next start, and every other program of the node at once.
import type { DesiredState, Registry } from '../../../model/desired-state.ts'
import { type Problem, problem } from '../../../model/errors.ts'
import { provesTrust } from '../../../model/finding.ts'
import type { Plan } from '../../../model/plan.ts'
import type { ChainCertificate } from '../../../pki/certificate/chain-certificate.ts'
import { trustFor } from '../../../probe/probe.ts'
import { readSystemRoots } from '../../observe/system-roots.ts'
import { proveTls, type TlsProofPorts } from '../../prove/handshake.ts'

const PATIENCE_MS = 3_000

export type Spared = {
  /** Without what would take a registry its chain. */
  readonly desired: DesiredState
  /** One for each registry; none: nothing is left out. */
  readonly problems: readonly Problem[]
}

export async function sparedByDistrust(
  { distrusts = [] }: Plan,
  desired: DesiredState,
  ports: TlsProofPorts,
): Promise<Spared> {
  const nothing = { desired, problems: [] }
  if (distrusts.length === 0 || desired.distrust === undefined) return nothing
  const system = await readSystemRoots(ports.files)
  const lost = await Promise.all(
    desired.registries.map((registry) => lostWith(registry, distrusts, system, desired, ports)),
  )
  const spared = new Set(lost.flat())
  if (spared.size === 0) return nothing
  const { fingerprints } = desired.distrust
  return {
    desired: {
      ...desired,
      distrust: { ...desired.distrust, fingerprints: fingerprints.filter((one) => !spared.has(one)) },
    },
    problems: desired.registries.flatMap(({ host }, index) => {
      const roots = lost[index] ?? []
      if (roots.length === 0) return []
      const text = `${host} is trusted now by ${namesOf(roots, system)}, which distrust takes from the node; it was left there`
      return [problem('ANCHOR_WOULD_ORPHAN', text)]
    }),
  }
}

/** Those of `distrusts` without which the registry is not trusted any more. */
async function lostWith(
  registry: Registry,
  distrusts: readonly string[],
  system: readonly ChainCertificate[],
  desired: DesiredState,
  ports: TlsProofPorts,
): Promise<readonly string[]> {
  const isTrustedWithout = async (gone: readonly string[]) => {
    const left = system.filter(({ fingerprint }) => !gone.includes(fingerprint))
    const { roots } = trustFor(registry.host, desired, left)
    const { finding } = await proveTls(registry, roots, ports, { timeoutMs: PATIENCE_MS })
    return provesTrust(finding.code)
  }
  if (!(await isTrustedWithout([])) || (await isTrustedWithout(distrusts))) return []
  const guilty = await Promise.all(distrusts.map(async (one) => ((await isTrustedWithout([one])) ? [] : [one])))
  return guilty.flat().length > 0 ? guilty.flat() : distrusts
}

function namesOf(fingerprints: readonly string[], system: readonly ChainCertificate[]): string {
  return fingerprints.map((one) => system.find(({ fingerprint }) => fingerprint === one)?.subject ?? one).join(' and ')
}
