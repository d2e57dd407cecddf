// Proves trust by a test pull through the CRI socket, with containerd's own code: the one fact that `trusted` rests on.
// A pull may change nothing that matters on the node: by default it asks for an image that is there, or for one that is
// nowhere.
import { classifyPull } from '../../containerd/pull/classify.ts'
import { atMost } from '../../model/at-most.ts'
import type { Registry } from '../../model/desired-state.ts'
import { type Finding, finding, isLoginFailure, provesTrust } from '../../model/finding.ts'
import { hostPart, isProbeReference, probeReference, probeReferenceBeside } from '../../model/image-reference.ts'
import type { Clock, CriClient } from '../../model/ports.ts'
import type { ProofResult } from '../../model/proof.ts'
import type { Login, LoginFor } from '../../model/run-ports.ts'

export const PROOF_DEADLINE_MS = 15_000
/** containerd, the registries and this process answer no sooner when asked for more at once. */
export const MOST_PROOFS_AT_ONCE = 8

export type ProveOptions = {
  readonly clock: Clock
  readonly timeoutMs: number
  /** Absent: without credentials. */
  readonly login?: LoginFor | undefined
  readonly signal?: AbortSignal | undefined
}

/**
 * Proves several registries at once; a slow one does not delay the others. `refine` makes a proof more exact while
 * containerd is busy with the next ones.
 */
export async function proveRegistries(
  registries: readonly Registry[],
  cri: CriClient,
  options: ProveOptions,
  refine: (proof: ProofResult) => Promise<ProofResult> = async (proof) => proof,
): Promise<readonly ProofResult[]> {
  const listed = withOneList(cri)
  return await atMost(
    MOST_PROOFS_AT_ONCE,
    registries,
    async (registry) => await refine(await proveRegistry(registry, listed, options)),
  )
}

/** The list of images is asked for once: of a node with many images it is long. A list that failed is asked for again. */
function withOneList(cri: CriClient): CriClient {
  let list: Promise<readonly string[]> | undefined
  return {
    ...cri,
    imageDigests(options) {
      list ??= cri.imageDigests(options).catch((error: unknown) => {
        list = undefined
        throw error
      })
      return list
    },
  }
}

export async function proveRegistry(registry: Registry, cri: CriClient, options: ProveOptions): Promise<ProofResult> {
  const { clock } = options
  const [at, began] = [new Date(clock.now()).toISOString(), clock.monotonic()]
  const login = await options.login?.(registry, options)
  const accepted = login?.kind === 'accepted' ? login : undefined
  const chosen = await chooseReference(registry, cri, options)
  const isSpared = accepted !== undefined && (await wouldLeaveImage(registry, chosen, cri, options))
  const reference = isSpared ? probeReferenceBeside(chosen) : chosen
  const result = await cri.pullImage(reference, options, accepted?.credentials)
  const answered = result.ok ? trusted(registry, reference) : failed(registry, reference, result)
  const pulled = isSpared && answered.code === 'trusted' ? spared(registry, chosen, answered) : answered
  return {
    host: registry.host,
    level: isSpared ? 'manifest' : registry.proof.level,
    by: 'live',
    reference,
    finding: withLogin(pulled, login, reference),
    ...(login === undefined || login.kind === 'not-needed' || isUntried(login)
      ? {}
      : { loginAccepted: accepted !== undefined }),
    at,
    durationMs: Math.round(clock.monotonic() - began),
  }
}

/**
 * An image that the kubelet did not pull itself may be started by any Pod without the login that it was pulled with,
 * where its policy
 * trusts what it finds (KEP-2535, imagePullCredentialsVerificationPolicy: NeverVerifyPreloadedImages, the default): so
 * a proof with a login
 * brings none, unless its user wants it to.
 */
async function wouldLeaveImage(
  { proof }: Registry,
  reference: string,
  cri: CriClient,
  options: ProveOptions,
): Promise<boolean> {
  if (proof.level !== 'pull' || proof.leavesImage === true || reference !== proof.image) return false
  try {
    return !(await cri.imageExists(reference, options))
  } catch {
    // The pull that follows says better what is wrong with the runtime, and brings nothing.
    return true
  }
}

function spared({ host }: Registry, image: string, { evidence }: Finding): Finding {
  const message = `${host} answered over verified TLS, and the login may pull from the repository of ${image}; the image itself was not pulled, because it would stay on the node for every Pod (proof.leavesImage)`
  return finding('trusted', message, evidence)
}

function isUntried(login: Login): boolean {
  return login.kind === 'failed' && login.finding.code === 'login-untried'
}

/**
 * Trust and login are two things: the login is reported where trust is proved, and a fault of trust is never hidden by
 * one of the login.
 */
function withLogin(pulled: Finding, login: Login | undefined, reference: string): Finding {
  if (login === undefined || !provesTrust(pulled.code)) return pulled
  if (login.kind === 'failed') return { ...login.finding, evidence: { ...pulled.evidence, ...login.finding.evidence } }
  if (login.kind === 'not-needed' || (pulled.code !== 'unauthorized' && pulled.code !== 'forbidden')) return pulled
  if (!isProbeReference(reference))
    return finding('forbidden', `${login.who} may log in, but not pull ${reference}`, pulled.evidence)
  const message = `verified TLS, and the login of ${login.who} is accepted; it may not see ${reference}, so name an image of its own as proof.image`
  return finding('trusted', message, pulled.evidence)
}

/** The same, by a reference that is on no node: what the rehearsal asks for. */
export async function proveByProbe(registry: Registry, cri: CriClient, options: ProveOptions): Promise<ProofResult> {
  const { image: _, ...proof } = registry.proof
  const withoutDigests: CriClient = { ...cri, imageDigests: async () => [] }
  const anonymous = { ...options, login: undefined }
  return proveRegistry({ ...registry, proof: { ...proof, level: 'manifest' } }, withoutDigests, anonymous)
}

const indexes = new WeakMap<readonly string[], ReadonlyMap<string, string>>()

/** Of one list an index is made once: each registry going through all images of a node is a product of both. */
function firstByHost(digests: readonly string[]): ReadonlyMap<string, string> {
  const known = indexes.get(digests)
  if (known !== undefined) return known
  // The first of a host is put last.
  const index = new Map(digests.toReversed().map((reference) => [hostPart(reference), reference]))
  indexes.set(digests, index)
  return index
}

async function chooseReference(registry: Registry, cri: CriClient, options: ProveOptions): Promise<string> {
  if (registry.proof.level === 'pull' && registry.proof.image !== undefined) return registry.proof.image
  try {
    const digests = await cri.imageDigests(options)
    return firstByHost(digests).get(registry.host) ?? probeReference(registry.host)
  } catch {
    // The pull that follows says better what is wrong with the runtime.
    return probeReference(registry.host)
  }
}

function trusted({ host }: Registry, reference: string): Finding {
  return finding('trusted', `containerd pulled ${reference} from ${host}`, { reference })
}

function failed(registry: Registry, reference: string, result: Parameters<typeof classifyPull>[0]): Finding {
  const classified = classifyPull(result, { reference, host: registry.host })
  const wasNamedByUser = reference === registry.proof.image && !isProbeReference(reference)
  if (classified.code !== 'not-found' || wasNamedByUser) return classified
  const message = `${registry.host} answered over verified TLS that the probe image does not exist, as expected`
  return finding('trusted', message, { reference })
}

/**
 * Whether the registry counts as proved for `apply`: TLS trust, the login where one is declared, and for the `pull`
 * level the image itself.
 */
export function isProved(proof: ProofResult): boolean {
  if (proof.level === 'pull' && proof.finding.code === 'not-found') return false
  return provesTrust(proof.finding.code) && !isLoginFailure(proof.finding.code)
}
