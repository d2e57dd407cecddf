// Proves declared registries as each of them asks for: by a pull of containerd, with credentials where they are
// declared, or by a handshake of the agent's own.
// This room: proving that a registry is trusted: by a pull of containerd, or by a handshake.
// Begin here; then pull.ts, then login.ts (with whose credentials).
// May touch: the CRI socket and the network; never a file.
import type { DesiredState, Registry } from '../../model/desired-state.ts'
import { registryOf } from '../../model/lookup.ts'
import type { Clock, CriClient } from '../../model/ports.ts'
import type { ProofResult } from '../../model/proof.ts'
import type { LoginDesk } from '../../model/run-ports.ts'
import { trustFor } from '../../probe/probe.ts'
import { withCause } from '../../probe/same-finding.ts'
import { readSystemRoots } from '../observe/system-roots.ts'
import { proveByHandshake, type TlsProofPorts } from './handshake.ts'
import { PROOF_DEADLINE_MS, proveRegistries } from './pull.ts'

export type ProofPorts = TlsProofPorts & { readonly clock: Clock; readonly logins?: LoginDesk }

/** `runtime`: whose pulls they are, in words for people. */
export async function proveDeclared(
  registries: readonly Registry[],
  cri: CriClient,
  ports: ProofPorts,
  desired: DesiredState,
  runtime = 'containerd',
): Promise<readonly ProofResult[]> {
  const byHandshake = registries.filter(({ proof }) => proof.level === 'tls')
  const byPull = registries.filter(({ proof }) => proof.level !== 'tls')
  const { clock, logins } = ports
  const pull = { clock, timeoutMs: PROOF_DEADLINE_MS, login: logins?.for(desired) }
  const proofs = await Promise.all([
    proveRegistries(byPull, cri, pull, withCauses(desired, ports)),
    proveByHandshake(byHandshake, desired, ports),
  ])
  return runtime === 'containerd' ? proofs.flat() : proofs.flat().map((proof) => inWordsOf(runtime, proof))
}

/** By itself: not as a part of a host, a path or another name. */
const CONTAINERD = /(?<![\w./:-])containerd(?![\w/:-]|\.\w)/g

/** Findings and remedies are worded for containerd; those of another runtime's pulls name that one. */
export function inWordsOf(runtime: string, proof: ProofResult): ProofResult {
  const { finding } = proof
  const named = (text: string) => text.replaceAll(CONTAINERD, runtime)
  return { ...proof, finding: { ...finding, message: named(finding.message), remedy: named(finding.remedy) } }
}

const LOOK_MS = 5_000

/** Where several faults have the same words in containerd, a look of the agent's own tells which it is. */
function withCauses(
  desired: DesiredState,
  { tls, clock, files }: TlsProofPorts,
): (proof: ProofResult) => Promise<ProofResult> {
  // Read once, and only for a finding that needs it: parsing the system's roots is what costs here.
  let roots: ReturnType<typeof readSystemRoots> | undefined
  const trust = async (host: string) => {
    roots ??= readSystemRoots(files)
    return trustFor(host, desired, await roots)
  }
  return async (proof) => {
    const { host, reference, finding } = proof
    const registry = registryOf(desired.registries, host)
    if (registry === undefined || !isAskedPlainly(registry)) return proof
    const request = { registry: host, trust: async () => await trust(host), reference }
    return { ...proof, finding: await withCause(finding, request, { tls, clock }, { timeoutMs: LOOK_MS }) }
  }
}

/**
 * A look goes to the host of the name and shows nothing: it says nothing of mirrors and of what a client certificate or
 * a header opens.
 */
function isAskedPlainly({ host, mirrors = [], headers, clientCertificate, plainHttp, skipVerify }: Registry): boolean {
  const isOwn = headers === undefined && clientCertificate === undefined && plainHttp !== true && skipVerify !== true
  return isOwn && mirrors.length === 0 && host !== 'docker.io'
}
