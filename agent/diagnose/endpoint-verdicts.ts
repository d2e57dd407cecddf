// What `explain` says of each endpoint of a pull: the verdict of a look that trusts what containerd trusts for it, on
// the way that containerd takes. It never throws for what the network or a file does.
import { readContainerdConfig } from '../containerd/config/read.ts'
import type { CredentialSource, DesiredState } from '../model/desired-state.ts'
import type { Finding } from '../model/finding.ts'
import type { ContainerdFacts } from '../model/observed-state.ts'
import type { NodeFiles } from '../model/ports.ts'
import { rootsInPem, rootsOfAnchors, SYSTEM, type TrustedRoot } from '../pki/chain/roots.ts'
import type { ProbePorts, Trust } from '../probe/handshake.ts'
import { probeRegistry } from '../probe/probe.ts'
import { type Environment, proxyFor, throughProxy } from '../probe/proxy.ts'
import { pullFinding } from '../probe/same-finding.ts'
import { readSystemRoots } from '../reconcile/observe/system-roots.ts'

const LOOK_MS = 5_000

type Asked = { readonly url: string; readonly ca: readonly string[]; readonly skipVerify: boolean }

type Ports = ProbePorts & { readonly files: NodeFiles }

/** Null: nothing is verified there (`skip_verify`, or plain HTTP). */
export async function endpointVerdicts(
  endpoints: readonly Asked[],
  { environment, desired }: { readonly environment: Environment; readonly desired: DesiredState },
  ports: Ports,
): Promise<readonly (Finding | null)[]> {
  const { files, clock, tls } = ports
  const system = (await readSystemRoots(files, { environment })).map((certificate) => ({ certificate, origin: SYSTEM }))
  const otherAnchors = rootsOfAnchors(desired.anchors)
  const ways = { clock, tls: throughProxy(tls, environment) }
  return await Promise.all(
    endpoints.map(async ({ url, ca, skipVerify }) => {
      const parsed = URL.parse(url)
      if (parsed === null || parsed.protocol !== 'https:' || skipVerify) return null
      const trust: Trust = { isDeclared: true, roots: [...(await rootsOf(ca, files)), ...system], otherAnchors }
      return pullFinding(await probeRegistry({ registry: parsed.host, trust }, ways, { timeoutMs: LOOK_MS }))
    }),
  )
}

async function rootsOf(paths: readonly string[], files: NodeFiles): Promise<readonly TrustedRoot[]> {
  const read = paths.map(async (path) => {
    const file = await files.readFollowing(path)
    const pem = file.kind === 'file' ? file.bytes.toString('latin1') : ''
    return rootsInPem(pem).map((certificate) => ({ certificate, origin: path }))
  })
  return (await Promise.all(read)).flat()
}

/**
 * The environment of the running containerd, or what its unit sets; a file that the unit reads (EnvironmentFile) is not
 * seen.
 */
export function environmentOf({ process, unit }: Pick<ContainerdFacts, 'process' | 'unit'>): Environment {
  return process?.environment ?? unit?.environment ?? {}
}

/** The proxy that containerd takes to the host, without its login; null: none. */
export function proxyShown(environment: Environment, host: string): string | null {
  const { hostname, port } = URL.parse(`https://${host}`) ?? { hostname: host, port: '' }
  const choice = proxyFor(environment, hostname.replace(/^\[(.*)\]$/, '$1'), port === '' ? 443 : Number(port))
  return choice.kind === 'direct' ? null : choice.shown
}

const DECLARED: { readonly [kind in CredentialSource['kind']]: string } = {
  'docker-config': 'a docker config file',
  password: 'a user name and a password',
  token: 'a token',
}

/** Which credentials a pull from the host has on this node, one line each; what a Pod brings is not the node's. */
export function credentialsFor(host: string, desired: DesiredState, facts: ContainerdFacts): readonly string[] {
  const declared = desired.registries.find((registry) => registry.host === host)?.credentials
  return [
    ...(inConfig(host, facts) ? [`those of ${facts.configFile}, for every pull`] : []),
    ...(declared === undefined ? [] : [`${DECLARED[declared.kind]} of trust.yaml, for the agent's own proofs alone`]),
    "a Pod's imagePullSecrets and the kubelet's credential providers, for the Pod's own pulls: the node does not show them",
  ]
}

function inConfig(host: string, { config, configFile }: ContainerdFacts): boolean {
  if (config.kind !== 'file') return false
  try {
    const { registries } = readContainerdConfig(config.bytes, { path: configFile })
    return Object.values(registries).some(
      ({ configsAuth, auths }) =>
        configsAuth.includes(host) || auths.some((url) => url === host || URL.parse(url)?.host === host),
    )
  } catch {
    // What is wrong with the file is said by the plan for it.
    return false
  }
}
