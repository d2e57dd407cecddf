// What k3s or RKE2 read on this node, and where they read it.
import { DISTRIBUTION_CA_FOLDER } from '../../containerd/hosts/k3s.ts'
import type { ContainerdFacts } from '../../model/observed-state.ts'
import type { FileState, NodeFiles } from '../../model/ports.ts'
import type { TargetInput } from '../../model/target.ts'
import { type ObservedTree, observeCertsTree } from '../certs-d/observe.ts'
import { type CertsTree, hostsFolderOf } from '../certs-d/tree.ts'
import { readSettledText } from '../files/observe.ts'

export const TARGET = 'k3s'
const DISTRIBUTIONS = ['k3s', 'rke2'] as const
export type Distribution = (typeof DISTRIBUTIONS)[number]

export type ObservedK3s = {
  readonly distribution: Distribution
  /** The node is one of this distribution; false: only what the agent left here earlier counts. */
  readonly isThis: boolean
  readonly file: FileState
  readonly isLink: boolean
  readonly tree: ObservedTree
  readonly noDefaultEndpoint: boolean
  /** The file that k3s reads in place of registries.yaml. */
  readonly elsewhere?: string
  /** What the running containerd has loaded, as text: it may name our CA files. */
  readonly loadedConfig: string
}

export function treeOf(distribution: Distribution): CertsTree {
  return { target: TARGET, base: `/etc/rancher/${distribution}`, folder: DISTRIBUTION_CA_FOLDER }
}

export function registriesFile(distribution: Distribution): string {
  return `/etc/rancher/${distribution}/registries.yaml`
}

export function ownedHere(distribution: Distribution, owned: TargetInput['owned']): readonly string[] {
  const base = `${treeOf(distribution).base}/`
  return Object.keys(owned).filter((path) => owned[path]?.target === TARGET && path.startsWith(base))
}

/** Undefined: neither a node of k3s or RKE2 nor anything of ours from when it was one. */
export async function observeK3s(
  input: Pick<TargetInput, 'desired' | 'owned'>,
  facts: ContainerdFacts,
  files: NodeFiles,
): Promise<ObservedK3s | undefined> {
  const here = DISTRIBUTIONS.find((one) => one === facts.layout)
  const left = DISTRIBUTIONS.find((one) => ownedHere(one, input.owned).length > 0)
  const distribution = left ?? here
  if (distribution === undefined) return undefined
  const tree = treeOf(distribution)
  return {
    distribution,
    isThis: distribution === here,
    file: await readSettledText(registriesFile(distribution), files),
    isLink: (await files.read(tree.base)).kind === 'link',
    tree: await observeCertsTree(tree, input, files),
    ...(await settingsOf(tree.base, facts, files)),
    loadedConfig: facts.config.kind === 'file' ? facts.config.bytes.toString('utf8') : '',
  }
}

type Settings = { readonly noDefaultEndpoint: boolean; readonly elsewhere?: string }

/** Of the options of k3s itself: those on which it depends whether and how registries.yaml counts. */
async function settingsOf(base: string, { unit }: ContainerdFacts, files: NodeFiles): Promise<Settings> {
  const names = (await files.list(`${base}/config.yaml.d`)).map((name) => `${base}/config.yaml.d/${name}`)
  const states = await Promise.all([`${base}/config.yaml`, ...names].map((path) => files.readFollowing(path)))
  const texts = states.flatMap((state) => (state.kind === 'file' ? [state.bytes.toString('utf8')] : []))
  const words = `${unit?.execStart.join('\n') ?? ''}\n`.replaceAll(/^--([a-z-]+)[=\n]/gm, '$1: ')
  const valueAt = (name: string) => {
    const found = [words, ...texts].flatMap(
      (text) => new RegExp(`^[ \\t]*["']?${name}["']?[ \\t]*:[ \\t]*["']?([^\\s"'#]*)`, 'm').exec(text)?.[1] ?? [],
    )
    return found[0]
  }
  const noDefault = valueAt('disable-default-registry-endpoint')
  const elsewhere = valueAt('private-registry')
  return {
    noDefaultEndpoint: noDefault !== undefined && noDefault !== 'false',
    ...(elsewhere === undefined || elsewhere === `${base}/registries.yaml` ? {} : { elsewhere }),
  }
}

/** Whose changes the daemon should notice at once. */
export function foldersOfDistribution(layout: string): readonly { readonly path: string; readonly depth: number }[] {
  const distribution = DISTRIBUTIONS.find((one) => one === layout)
  if (distribution === undefined) return []
  const tree = treeOf(distribution)
  return [
    { path: tree.base, depth: 0 },
    { path: hostsFolderOf(tree), depth: 1 },
  ]
}
