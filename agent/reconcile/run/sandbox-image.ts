// The sandbox image, before anything is edited: pulled by containerd itself, so that it is there, for the architecture
// of this node. Rule: without that config.toml keeps the image that it has, because no Pod starts without one.

import { brokenSandboxPin } from '../../containerd/defects.ts'
import type { DesiredState } from '../../model/desired-state.ts'
import { asAgentError, type Problem, problem } from '../../model/errors.ts'
import type { Context } from '../../model/run.ts'
import { sandboxImageOf } from '../observe/sandbox-image.ts'
import { proveRegistry } from '../prove/pull.ts'

const CALL_MS = 5_000
/** A pause image has less than a megabyte; the registry may be slow. */
const PULL_MS = 60_000

export type ReadySandboxImage = { readonly desired: DesiredState; readonly problems: readonly Problem[] }

export async function readySandboxImage(context: Context): Promise<ReadySandboxImage> {
  const { desired, facts } = context
  const { sandboxImage, targets } = desired
  if (sandboxImage === undefined || targets.containerd.enabled === 'off') return { desired, problems: [] }
  // Already set: a missing image is a finding of its own, and stops nothing.
  const why = sandboxImageOf(facts) === sandboxImage ? undefined : await missing(sandboxImage, context)
  if (why === undefined) return { desired, problems: [] }
  const { sandboxImage: _, ...rest } = desired
  const text = `the sandbox image ${sandboxImage} was not set: ${why}`
  return { desired: { ...rest, isSandboxImageHeld: true }, problems: [problem('SANDBOX_IMAGE_NOT_READY', text)] }
}

/** Why the image cannot be relied on; undefined: it is there for this node. */
async function missing(image: string, context: Context): Promise<string | undefined> {
  const { facts, cri } = context
  const broken = brokenSandboxPin(image, facts.version)
  if (broken !== undefined) return broken
  try {
    if (!(await cri.imageExists(image, { timeoutMs: CALL_MS }))) {
      const failure = await pull(image, context)
      if (failure !== undefined) return failure
    }
    const architecture = await cri.imageArchitecture(image, { timeoutMs: CALL_MS })
    if (architecture === undefined || architecture === architectureOfNode()) return undefined
    return `the image on this node is for ${architecture}, and the node is ${architectureOfNode()}`
  } catch (thrown) {
    return asAgentError(thrown).message
  }
}

/** With the login that is declared for its registry, asked as a proof asks. Why it failed; undefined: it is there. */
async function pull(image: string, { desired, cri, ports, options }: Context): Promise<string | undefined> {
  const host = image.slice(0, image.indexOf('/'))
  const declared = desired.registries.find((registry) => registry.host === host)
  const login = declared?.credentials === undefined ? undefined : ports.logins?.for(desired)
  const proof = { image, level: 'pull', everyMs: 0, leavesImage: true } as const
  const registry = { ...(declared ?? { host, anchors: [], source: 'containerd.sandboxImage' }), proof }
  const { clock } = ports
  const { finding } = await proveRegistry(registry, cri, { clock, timeoutMs: PULL_MS, login, signal: options.signal })
  return finding.code === 'trusted' ? undefined : finding.message
}

/** In the words of OCI (GOARCH), as far as Node.js runs there. */
function architectureOfNode(): string {
  const words: { readonly [arch: string]: string } = { x64: 'amd64', ia32: '386' }
  return words[process.arch] ?? process.arch
}
