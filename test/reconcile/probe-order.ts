// What run-probes.ts is told, and how it is run on a node.
import { join } from 'node:path'
import type { ProbeReport } from '../../agent/reconcile/probe.ts'
import type { FixtureNode } from '../node/fixture-node.ts'

export type ProbeOrder = {
  readonly registry: string
  /** Declared for the registry, by name; absent: it is not declared. */
  readonly anchors?: { readonly [name: string]: string }
  /** Declared for other registries. */
  readonly others?: { readonly [name: string]: string }
  readonly image?: string
  readonly timeoutMs?: number
  readonly neighbours?: readonly string[]
}

export async function probeOn(node: FixtureNode, orders: readonly ProbeOrder[]): Promise<readonly ProbeReport[]> {
  const argv = [process.execPath, join(import.meta.dirname, 'run-probes.ts')]
  return JSON.parse(await node.run(argv, { input: JSON.stringify(orders) })) as readonly ProbeReport[]
}

/** The one code that stands for the pull: the TLS verdict, else the first thing wrong that the follow-ups found. */
export function pullCode({ finding, related }: ProbeReport): string {
  if (finding.code !== 'trusted') return finding.code
  return related.find((one) => one.finding.code !== 'trusted')?.finding.code ?? 'trusted'
}
