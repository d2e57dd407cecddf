// A systemd node with the image on it, a private registry beside it, and the agent's Pod as the manifests describe it.
import type { Test } from 'tap'
import { type PrivateRegistry, startPrivateRegistry } from '../e2e/agent-on-node.ts'
import type { RunningContainer as Witness } from '../node/fixture-node.ts'
import type { Generation } from '../node/generations.ts'
import { systemdNode } from '../node/node-tests.ts'
import type { SystemdNode } from '../node/systemd-node.ts'
import { type ConfigMaps, CriPod, type RunningContainer } from './cri-pod.ts'
import { loadImage } from './image.ts'
import type { Container, PodSpec } from './objects.ts'

export const HOST = 'harbor.example.net'

export type DeployedNode = PrivateRegistry & {
  readonly node: SystemdNode
  /** A container that was there before: nothing may happen to it. */
  readonly witness: Witness
  readonly configMaps: ConfigMaps
  pod(spec: PodSpec): Promise<CriPod>
}

export async function deployedNode(
  t: Test,
  generation: Generation,
  {
    trust: more = {},
    ...options
  }: {
    readonly config?: string
    readonly files?: { readonly [path: string]: string }
    /** What trust.yaml says besides the one registry. */
    readonly trust?: object
  } = {},
): Promise<DeployedNode> {
  const node = await systemdNode(t, { generation, runContainers: true, ...options })
  const witness = await node.runContainer()
  const [, privateRegistry] = await Promise.all([loadImage(node), startPrivateRegistry(node, HOST)])
  const trust = { registries: [{ host: HOST, ca: 'ca.pem' }], ...more }
  const configMaps = {
    'registry-trust': { 'trust.yaml': JSON.stringify(trust), 'ca.pem': privateRegistry.authority.pem },
  }
  const recursiveReadOnly = isVersion2(generation)
  return {
    ...privateRegistry,
    node,
    witness,
    configMaps,
    pod: (spec) => CriPod.run(node, spec, { configMaps, recursiveReadOnly }),
  }
}

/** From 2.0 on containerd can make a mount read-only all the way down. */
export function isVersion2(generation: Generation): boolean {
  return Number(generation.version.split('.')[0]) >= 2
}

export type Status = {
  readonly state: string
  readonly problems: readonly { readonly code: string }[]
  readonly registries: readonly { readonly state: string; readonly finding: { readonly code: string } }[]
  readonly restart: { readonly pending: boolean; readonly reason: string | null }
}

/** GET /status, asked from inside the Pod. */
export async function statusOf(agent: RunningContainer): Promise<Status> {
  return JSON.parse(
    await agent.script("console.log(await (await fetch('http://127.0.0.1:9461/status')).text())"),
  ) as Status
}

export async function untilStatus(agent: RunningContainer, holds: (status: Status) => boolean): Promise<Status> {
  const deadline = Date.now() + 90_000
  let last: Status | undefined
  for (;;) {
    // While containerd is restarted, nothing can be run in a container either.
    last = await statusOf(agent).catch(() => last)
    if (last !== undefined && holds(last)) return last
    if (Date.now() > deadline) throw new Error(`not in time: ${JSON.stringify(last)}\n${await agent.log()}`)
  }
}

/** The same Pod with one container changed. */
export function withContainer(spec: PodSpec, name: string, change: (container: Container) => Container): PodSpec {
  const each = (container: Container) => (container.name === name ? change(container) : container)
  return { ...spec, initContainers: (spec.initContainers ?? []).map(each), containers: spec.containers.map(each) }
}

/** A Pod whose agent runs one command and ends. */
export function asCommand(spec: PodSpec, ...args: readonly string[]): PodSpec {
  return withContainer(spec, 'agent', (agent) => ({ ...agent, args }))
}

export function withoutMount(spec: PodSpec, container: string, mountPath: string): PodSpec {
  return withContainer(spec, container, (found) => {
    const volumeMounts = (found.volumeMounts ?? []).filter((mount) => mount.mountPath !== mountPath)
    if (volumeMounts.length === found.volumeMounts?.length)
      throw new Error(`${container} mounts nothing at ${mountPath}`)
    return { ...found, volumeMounts }
  })
}
