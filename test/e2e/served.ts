// A node whose containerd reads certs.d already, and registries beside it, each with a CA of its own.
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import { type Authority, createAuthority, issueServer } from '../node/certificates.ts'
import type { Generation } from '../node/generations.ts'
import { type FixtureRegistry, startRegistry } from '../node/registry.ts'
import { defaultConfig, type SandboxNode, startSandboxNode, withConfigPath } from '../node/sandbox-node.ts'
import { AgentOnNode } from './agent-on-node.ts'

export type Place = { readonly node: SandboxNode; readonly agent: AgentOnNode; readonly pki: string }
export type Served = { readonly registry: FixtureRegistry; readonly authority: Authority }

export async function placeOn(t: Test, generation: Generation): Promise<Place> {
  const node = await startSandboxNode({ generation, config: withConfigPath(defaultConfig(generation)) })
  t.teardown(() => node.dispose())
  const pki = join(node.scratch, 'pki')
  await mkdir(pki)
  return { node, pki, agent: await AgentOnNode.on(node) }
}

/** Each with a CA of its own, so that trust in one opens none of the others. */
export async function serve({ node, pki }: Place, host: string, port = 443): Promise<Served> {
  const authority = await createAuthority(pki, `Root of ${host}`)
  return {
    authority,
    registry: await startRegistry(node, { host, port, certificate: await issueServer(authority, pki, [host]) }),
  }
}
