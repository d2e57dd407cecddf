// `explain IMAGE`: what a pull of this image uses on this node, in order, and where it fails.

import { readContainerdConfig } from '../containerd/config/read.ts'
import { parseContainerdVersion } from '../containerd/config/schema-version.ts'
import { endpointsOf as legacyEndpointsOf, readLegacyRegistry } from '../containerd/edit/legacy-sections.ts'
import { renderEndpoint } from '../containerd/hosts/endpoint.ts'
import { defaultServer } from '../containerd/hosts/hosts-toml.ts'
import { chooseHost, directoryNames, type HostChoice } from '../containerd/hosts/lookup.ts'
import type { DesiredState } from '../model/desired-state.ts'
import { nothingDesired } from '../model/desired-state.ts'
import { AgentError } from '../model/errors.ts'
import type { Finding } from '../model/finding.ts'
import { hostOf } from '../model/image-reference.ts'
import type { ContainerdFacts } from '../model/observed-state.ts'
import type { RegistryCredentials } from '../model/ports.ts'
import type { RunPorts } from '../model/run-ports.ts'
import { redactUserInfo } from '../model/secret.ts'
import { moreExact } from '../probe/same-finding.ts'
import { observeContainerd } from '../reconcile/observe/containerd.ts'
import { PROOF_DEADLINE_MS, proveRegistry } from '../reconcile/prove/pull.ts'
import { makePlan } from '../reconcile/run/planning.ts'
import { readCertsTree } from '../targets/containerd-hosts/directories.ts'
import { credentialsFor, endpointVerdicts, environmentOf, proxyShown } from './endpoint-verdicts.ts'

export type Endpoint = {
  readonly url: string
  /** Absolute paths on the node; empty: the system's roots alone. */
  readonly ca: readonly string[]
  readonly skipVerify: boolean
  readonly capabilities: readonly string[]
  readonly clientCertificate: boolean
}

/** `finding`: what a look at it says; null: nothing is verified there. */
export type JudgedEndpoint = Endpoint & { readonly finding: Finding | null }

export type Explanation = {
  readonly image: string
  readonly host: string
  readonly containerd: { readonly version: string; readonly configFile: string; readonly configPath: string | null }
  /** Where containerd looks, in order, and what it found. */
  readonly lookedFor: readonly string[]
  readonly hostsFile: string | null
  /** What containerd silently ignores. */
  readonly ignored: readonly string[]
  readonly endpoints: readonly JudgedEndpoint[]
  /** The proxy that containerd takes to the host, without its login. */
  readonly proxy: string | null
  /** Which credentials a pull has on this node, one line each. */
  readonly credentials: readonly string[]
  readonly finding: Finding
}

export type ExplainRequest = {
  readonly image: string
  readonly desired: DesiredState | undefined
  readonly address: string | undefined
  readonly credentials?: RegistryCredentials
}

const ALL = ['pull', 'resolve', 'push']

/**
 * Throws AgentError USAGE for something that is not an image reference, CONTAINERD_NOT_FOUND or another error of the
 * node.
 */
export async function explainImage({ image, desired, address }: ExplainRequest, ports: RunPorts): Promise<Explanation> {
  const host = hostOf(image) ?? 'docker.io'
  if (!/^[^\s/]+(\/[^\s/]+)+$|^[^\s/]+$/.test(image))
    throw new AgentError('USAGE', `"${image}" is not an image reference`)
  const wanted = desired ?? nothingDesired(undefined)
  const seen = await observeContainerd({ address, unit: wanted.restart.unit }, ports)
  if (seen.state === 'down') throw seen.error
  const { facts, cri } = seen
  try {
    const state = await ports.store.load()
    const { plan } = await makePlan({ desired: wanted, state, facts }, ports)
    // A config_path that is only planned is not read yet.
    const isSet = !plan.changes.some(({ target }) => target === 'containerd-config')
    const folder = isSet ? plan.certsDirectory : undefined
    const directories = folder === undefined ? [] : await readCertsTree(folder, ports.files)
    const choice = chooseHost(host, directories, parseContainerdVersion(facts.version))
    const reference = image.includes('/') && hostOf(image) !== undefined ? image : `docker.io/library/${image}`
    const endpoints =
      (folder === undefined ? legacyEndpoints(host, facts) : undefined) ?? endpointsOf(choice, host, folder ?? '')
    const environment = environmentOf(facts)
    const [proof, verdicts] = await Promise.all([
      proveRegistry(
        { host, anchors: [], proof: { image: reference, level: 'pull', everyMs: 0 }, source: 'explain' },
        cri,
        { clock: ports.clock, timeoutMs: PROOF_DEADLINE_MS },
      ),
      endpointVerdicts(endpoints, { environment, desired: wanted }, ports),
    ])
    const [only] = verdicts
    return {
      image: reference,
      host,
      containerd: { version: facts.version, configFile: facts.configFile, configPath: folder ?? null },
      lookedFor: folder === undefined ? [] : directoryNames(host).map((name) => `${folder}/${name}`),
      hostsFile: choice.kind === 'hosts-file' ? `${folder}/${choice.directory}/hosts.toml` : null,
      ignored:
        'broken' in choice && choice.broken !== undefined
          ? [`${folder}/${choice.directory}/hosts.toml: ${redactUserInfo(choice.broken)}`]
          : [],
      endpoints: endpoints.map((endpoint, index) => ({ ...endpoint, finding: verdicts[index] ?? null })),
      proxy: proxyShown(environment, host),
      credentials: credentialsFor(host, wanted, facts),
      // With several endpoints, containerd's words are about the last that it asked.
      finding: verdicts.length === 1 && only != null ? moreExact(proof.finding, only) : proof.finding,
    }
  } finally {
    cri.close()
  }
}

/** What the registry sections of config.toml say, where nothing sets config_path. */
function legacyEndpoints(
  host: string,
  { config, configFile, version: text }: ContainerdFacts,
): readonly Endpoint[] | undefined {
  const version = parseContainerdVersion(text)
  if (config.kind !== 'file' || version === undefined) return undefined
  try {
    const legacy = readLegacyRegistry(readContainerdConfig(config.bytes, { path: configFile }), version)
    return legacyEndpointsOf(host, legacy).map((endpoint) => {
      const tls = legacy.tls.get(endpoint.host)
      return {
        url: redactUserInfo(renderEndpoint(endpoint)),
        ca: tls?.caFile === undefined ? [] : [tls.caFile],
        skipVerify: tls?.skipVerify === true,
        capabilities: ALL,
        clientCertificate: tls?.client !== undefined,
      }
    })
  } catch {
    // What is wrong with the file is said by the plan for it.
    return undefined
  }
}

function endpointsOf(choice: HostChoice, host: string, folder: string): readonly Endpoint[] {
  const upstream = defaultServer(host)
  const plain = { skipVerify: false, capabilities: ALL, clientCertificate: false }
  switch (choice.kind) {
    case 'none':
    case 'empty':
      return [{ ...plain, url: upstream, ca: [] }]
    case 'certificates':
      return [{ ...plain, url: upstream, ca: choice.names.map((name) => `${folder}/${choice.directory}/${name}`) }]
    case 'hosts-file': {
      const { file, directory } = choice
      const absolute = (ca: readonly string[]) =>
        ca.map((path) => (path.startsWith('/') ? path : `${folder}/${directory}/${path}`))
      const last = { ...file.top, url: file.server ?? upstream }
      return [...file.hosts, last].map(({ url, ca, skipVerify, capabilities, hasClientCertificate }) => ({
        url: redactUserInfo(url),
        ca: absolute(ca),
        skipVerify,
        capabilities: capabilities ?? ALL,
        clientCertificate: hasClientCertificate,
      }))
    }
    default:
      throw choice satisfies never
  }
}
