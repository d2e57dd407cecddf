// `registry-trust support-bundle`: what a maintainer asks for about this node, in one archive without secrets. A part
// that cannot be had is told in the list of contents and holds up no other. Changes nothing.
import { gzipSync } from 'node:zlib'
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
import { Redaction } from '../../diagnose/support/redaction.ts'
import { nothingDesired } from '../../model/desired-state.ts'
import { AgentError, asAgentError } from '../../model/errors.ts'
import type { ContainerdFacts } from '../../model/observed-state.ts'
import { NO_RUNTIME } from '../../model/observed-state.ts'
import { observeContainerd, observeOffline } from '../../reconcile/observe/containerd.ts'
import { planRun } from '../../reconcile/run/entry.ts'
import { tarOf } from '../../text/tar.ts'
import { planJson } from '../output/run.ts'
import { harmless, table } from '../output/terminal.ts'
import type { Wiring } from '../wiring.ts'
import { nodeStatus } from './status.ts'

const AGENT_UNIT = 'registry-trust.service'
const LOG_LINES = 500

/** The client of the Kubernetes API is loaded only then. */
const ofTheFleet = async (wiring: Wiring) => (await import('./fleet.ts')).supportBundleOfFleet(wiring)

export type Part = { readonly name: string; readonly what: string; readonly make: () => Promise<unknown> }

export async function supportBundleCommand(wiring: Wiring): Promise<number> {
  if (wiring.options.all) return await ofTheFleet(wiring)
  return await writeBundle(wiring, wiring.node, partsOf(wiring, await wiring.loadConfig()))
}

/** Prints what the archive holds, then writes it. A part that cannot be had holds up no other. */
export async function writeBundle(wiring: Wiring, subject: string, parts: readonly Part[]): Promise<number> {
  const { options, ports, note, outputFile, print, printBytes } = wiring
  const now = ports.clock.now()
  const folder = `registry-trust-support-${subject}-${timeIn(now)}`.replaceAll(/[^A-Za-z0-9._-]/g, '_').slice(0, 80)
  const entries = await collect(parts)
  const isPiped = options.output === '-'
  const tell = isPiped ? note : print
  tell(contents(entries))
  const archive = tarOf(
    entries.map(({ name, bytes }) => ({ name: `${folder}/${name}`, bytes })),
    now,
  )
  const bytes = gzipSync(archive)
  if (isPiped) printBytes(bytes)
  else {
    const path = options.output ?? `${folder}.tar.gz`
    await outputFile(path, bytes)
    print(`\nwritten to ${path}, ${bytes.length} bytes; look through it before you hand it on\n`)
  }
  return 0
}

/** 20261126T214500Z */
function timeIn(now: number): string {
  return new Date(now).toISOString().replaceAll(/[-:]|\.\d+/g, '')
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
    { name: 'status.json', what: 'the state that the running agent tells', make: () => nodeStatus(wiring) },
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

export async function versionsOf({ version, node, options, files }: Wiring): Promise<object> {
  const release = await files.readFollowing('/etc/os-release')
  const os = release.kind === 'file' ? /^PRETTY_NAME="?([^"\n]*)/m.exec(release.bytes.toString('utf8'))?.[1] : undefined
  return { agent: version, node, runtime: process.versions.node, arch: process.arch, os, options }
}

/** Looked at once, whether containerd answers or not; asked again it fails in the same way. */
function factsOnce({ options, ports }: Wiring, loaded: LoadResult): () => Promise<ContainerdFacts> {
  const { restart } = loaded.ok ? loaded.desired : nothingDesired(undefined)
  const observe = async () => {
    const { containerdAddress: address } = options
    if (address === NO_RUNTIME) return observeOffline(restart.unit, ports)
    const seen = await observeContainerd({ address, unit: restart.unit }, ports)
    if (seen.state === 'down') return observeOffline(restart.unit, ports)
    seen.cri.close()
    return seen.facts
  }
  let looking: Promise<ContainerdFacts> | undefined
  return () => {
    looking ??= observe()
    return looking
  }
}

type Entry = { readonly name: string; readonly what: string; readonly bytes: Buffer; readonly missing?: string }

async function collect(parts: readonly Part[]): Promise<readonly Entry[]> {
  const redaction = new Redaction()
  const made: { readonly part: Part; readonly value: unknown; readonly missing?: string }[] = []
  for (const part of parts) {
    try {
      const value = await part.make()
      const given = typeof value === 'string' ? value : redaction.tree(value)
      made.push(value === undefined ? { part, value: '', missing: 'there is none' } : { part, value: given })
    } catch (thrown) {
      made.push({ part, value: '', missing: asAgentError(thrown).message })
    }
  }
  return made.map(({ part: { name, what }, value, missing }) => {
    if (missing !== undefined) {
      const reason = redaction.text(missing)
      return { name, what, missing: reason, bytes: Buffer.from(`${JSON.stringify({ missing: reason }, null, 2)}\n`) }
    }
    const text =
      typeof value === 'string' ? redaction.text(value) : `${JSON.stringify(redaction.texts(value), null, 2)}\n`
    return { name, what, bytes: Buffer.from(text) }
  })
}

function contents(entries: readonly Entry[]): string {
  const rows = entries.map(({ name, what, bytes, missing }) => {
    return [name, `${bytes.length} bytes`, missing === undefined ? what : `not there: ${harmless(missing)}`]
  })
  return `The archive holds, without secrets:\n${table(rows, { indent: 2 })}`
}
