// `registry-trust probe HOST[:PORT]`: the TLS diagnosis of one registry from this node. Needs neither containerd nor a
// configuration, and changes nothing.

import { environmentOf } from '../../diagnose/endpoint-verdicts.ts'
import { type DesiredState, nothingDesired } from '../../model/desired-state.ts'
import { AgentError, type Problem } from '../../model/errors.ts'
import { hostOf } from '../../model/image-reference.ts'
import { withNotes } from '../../pki/chain/explain.ts'
import { type ProbeReport, probeRegistry, trustFor } from '../../probe/probe.ts'
import { type Environment, proxyFor, throughProxy } from '../../probe/proxy.ts'
import { observeContainerd } from '../../reconcile/observe/containerd.ts'
import { readSystemRoots } from '../../reconcile/observe/system-roots.ts'
import { PROOF_DEADLINE_MS } from '../../reconcile/prove/pull.ts'
import { formatProbe } from '../output/probe.ts'
import { formatProblems } from '../output/status.ts'
import type { Wiring } from '../wiring.ts'

export async function probeCommand(wiring: Wiring): Promise<number> {
  const { options, files, ports, paint, print, signal, loadConfig } = wiring
  const registry = readRegistry(options.operands[0] ?? '')
  const loaded = await loadConfig()
  if (!loaded.ok && !isMissing(loaded.problems)) {
    print(
      options.json
        ? `${JSON.stringify({ problems: loaded.problems }, null, 2)}\n`
        : formatProblems(loaded.problems, paint),
    )
    return 1
  }
  const desired = loaded.ok ? loaded.desired : undefined
  const system = await readSystemRoots(files)
  const trust = trustFor(registry, desired, system)
  const registries = desired?.registries ?? []
  const neighbours = registries.map(({ host }) => ({ registry: host, trust: trustFor(host, desired, system) }))
  const image = registries.find(({ host }) => host === registry)?.proof.image
  const request = { registry, trust, image, neighbours }
  const environment = await containerdEnvironment(wiring, desired)
  const looks = { tls: throughProxy(ports.tls, environment ?? {}), clock: ports.clock }
  const probed = await probeRegistry(request, looks, { timeoutMs: PROOF_DEADLINE_MS, signal })
  const report = withWay(withAnchorProblems(probed, registry, desired), environment)
  print(
    options.json
      ? `${JSON.stringify(report, null, 2)}\n`
      : formatProbe(report, { paint, hasConfig: desired !== undefined }),
  )
  return probeExit(report)
}

/** Undefined: containerd does not answer, or does not show what it was started with. */
async function containerdEnvironment(
  { options, ports }: Wiring,
  desired: DesiredState | undefined,
): Promise<Environment | undefined> {
  const { unit } = (desired ?? nothingDesired(undefined)).restart
  const seen = await observeContainerd({ address: options.containerdAddress, unit }, ports).catch(() => undefined)
  if (seen?.state !== 'ready') return undefined
  seen.cri.close()
  const { process, unit: service } = seen.facts
  return process === undefined && service === undefined ? undefined : environmentOf(seen.facts)
}

/** A look that goes another way than containerd's pulls proves less: the report says which way it went. */
function withWay(report: ProbeReport, environment: Environment | undefined): ProbeReport {
  const { host, port, finding } = report
  if (environment === undefined) {
    if (finding.code === 'trusted') return report
    const note = 'whether containerd goes through a proxy is not known here: this look went to the registry directly'
    return { ...report, finding: withNotes(finding, [note]) }
  }
  const choice = proxyFor(environment, host, port)
  if (choice.kind !== 'proxy') return report
  return {
    ...report,
    finding: withNotes(finding, [`containerd goes through the proxy ${choice.shown}, and so did this look`]),
  }
}

/** 0: a pull meets only trusted hosts. What an answer says besides trust (a login, a limit) does not count. */
export function probeExit({ finding, related }: ProbeReport): number {
  const isElsewhereUntrusted = related.some((one) => ELSEWHERE.has(one.finding.code))
  return finding.code === 'trusted' && !isElsewhereUntrusted ? 0 : 3
}

const ELSEWHERE: ReadonlySet<string> = new Set(['token-host-untrusted', 'blob-host-untrusted'])

function isMissing(problems: readonly Problem[]): boolean {
  return problems.every(({ code }) => code === 'CONFIG_MISSING')
}

/** An anchor that cannot be used is the likeliest reason why nothing verifies. */
function withAnchorProblems(report: ProbeReport, registry: string, desired: DesiredState | undefined): ProbeReport {
  if (report.finding.code === 'trusted' || desired === undefined) return report
  const names = desired.registries.find(({ host }) => host === registry)?.anchors
  const notes = desired.anchors
    .filter(({ name }) => names === undefined || names.includes(name))
    .flatMap(({ name, problems }) => problems.map(({ message }) => `anchor ${name}: ${message}`))
  return { ...report, finding: withNotes(report.finding, notes) }
}

/** As people have it at hand: with the scheme of a browser, or a whole image reference. */
function readRegistry(word: string): string {
  const bare = word.replace(/^https:\/\//i, '').replace(/\/$/, '')
  if (/^http:\/\//i.test(word)) throw usage(`"${word}" is plain HTTP: probe looks at TLS; write the host, or host:port`)
  const image = hostOf(bare)
  if (image !== undefined) throw usage(`"${word}" is more than a host; did you mean ${image}?`)
  const port = /:(\d+)$/.exec(bare.replace(/^\[.*\]/, ''))?.[1]
  const isHost = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_][A-Za-z0-9._-]{0,252})(:\d{1,5})?$/.test(bare)
  if (!isHost || (port !== undefined && (Number(port) < 1 || Number(port) > 65_535))) {
    throw usage(
      `"${word.slice(0, 100)}" is not a host: write it as in an image reference, such as harbor.example.net or 10.1.2.3:5000`,
    )
  }
  return bare.toLowerCase()
}

function usage(message: string): AgentError {
  return new AgentError('USAGE', message)
}
