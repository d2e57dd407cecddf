// `registry-trust support-bundle`: what a maintainer asks for about this node, in one archive without secrets. A part
// that is not available is named in the list of contents and does not stop the others. Changes nothing.
import type { LoadResult } from '../../config/load.ts'
import { examine } from '../../diagnose/doctor.ts'
import { configFiles } from '../../diagnose/support/config-part.ts'
import {
  auditTail,
  containerdFiles,
  daemonFacts,
  hostDirectories,
  podLogs,
  rememberedState,
} from '../../diagnose/support/node-part.ts'
import { nothingDesired } from '../../model/desired-state.ts'
import { AgentError } from '../../model/errors.ts'
import type { ContainerdFacts } from '../../model/observed-state.ts'
import { NO_RUNTIME } from '../../model/observed-state.ts'
import { observeContainerd, observeWithoutRuntime } from '../../reconcile/observe/containerd.ts'
import { planRun } from '../../reconcile/run/entry.ts'
import { planJson } from '../output/run.ts'
import type { Wiring } from '../wiring.ts'
import { type Part, versionsOf, writeBundle } from './bundle-archive.ts'
import { nodeStatus } from './status.ts'

const AGENT_UNIT = 'registry-trust.service'
const LOG_LINES = 500

/** The client of the Kubernetes API is loaded only then. */
const ofTheFleet = async (wiring: Wiring) => (await import('./fleet.ts')).supportBundleOfFleet(wiring)

export async function supportBundleCommand(wiring: Wiring): Promise<number> {
  if (wiring.options.all) return await ofTheFleet(wiring)
  return await writeBundle(wiring, wiring.node, partsOf(wiring, await wiring.loadConfig()))
}

function partsOf(wiring: Wiring, loaded: LoadResult): readonly Part[] {
  const { options, ports, files, inputs, mounts, signal } = wiring
  const { containerdAddress: address } = options
  const facts = factsOnce(wiring, loaded)
  const ofConfig = loaded.ok
    ? { generation: loaded.desired.generation, refused: loaded.refused, problems: loaded.problems }
    : { problems: loaded.problems }
  const doctor = () =>
    examine(
      {
        desired: loaded.ok ? loaded.desired : undefined,
        problems: loaded.ok ? [] : loaded.problems,
        address,
        mounts: mounts(),
        stateFolder: options.stateDir,
      },
      ports,
    )
  const plan = async () => {
    if (!loaded.ok) throw new AgentError('CONFIG_INVALID', 'the configuration is broken: see configuration.json')
    const request = { address, byHand: true, consentUnrehearsed: false, signal }
    return planJson(await planRun(loaded.desired, request, ports))
  }
  // First those with secrets below their names: what is found there is taken out of the others too.
  return [
    {
      name: 'containerd-config.json',
      what: 'config.toml and its imports',
      make: async () => containerdFiles(await facts()),
    },
    {
      name: 'configuration.json',
      what: 'the --config paths as read, and what is wrong with them',
      make: async () => ({ ...ofConfig, files: await configFiles(options.config, inputs) }),
    },
    {
      name: 'host-directories.json',
      what: 'hosts.toml and CA files',
      make: async () => hostDirectories(await facts(), files),
    },
    { name: 'versions.json', what: 'agent, Node.js, operating system, flags', make: async () => versionsOf(wiring) },
    {
      name: 'containerd.json',
      what: 'process, unit and status of containerd',
      make: async () => daemonFacts(await facts()),
    },
    { name: 'mounts.json', what: 'mounts that the agent sees', make: async () => mounts() },
    { name: 'status.json', what: 'the state that the running agent reports', make: () => nodeStatus(wiring) },
    { name: 'plan.json', what: 'what would change', make: plan },
    { name: 'doctor.json', what: 'what is wrong, worst first', make: doctor },
    { name: 'state.json', what: 'what the agent owns', make: () => rememberedState(options.stateDir, files) },
    { name: 'audit.json', what: 'the newest changes', make: () => auditTail(options.stateDir, files) },
    {
      name: 'agent.log',
      what: 'the newest log lines',
      make: async () => `${await wiring.unitLog(AGENT_UNIT, LOG_LINES)}${await podLogs(files)}` || undefined,
    },
  ]
}

/** Looked at once, whether containerd answers or not; asked again it fails in the same way. */
function factsOnce({ options, ports }: Wiring, loaded: LoadResult): () => Promise<ContainerdFacts> {
  const { restart } = loaded.ok ? loaded.desired : nothingDesired(undefined)
  const observe = async () => {
    const { containerdAddress: address } = options
    if (address === NO_RUNTIME) return observeWithoutRuntime(restart.unit, ports)
    const seen = await observeContainerd({ address, unit: restart.unit }, ports)
    if (seen.state === 'down') return observeWithoutRuntime(restart.unit, ports)
    seen.cri.close()
    return seen.facts
  }
  let looking: Promise<ContainerdFacts> | undefined
  return () => {
    looking ??= observe()
    return looking
  }
}
