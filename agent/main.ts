#!/usr/bin/env node
// Composition root: reads argv and the environment (nobody else does), wires the ports, runs one command, and is the
// only place that ends the process.
import { realpath } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join, posix } from 'node:path'
import { type Options, parseCommandLine } from './cli/command-line/args.ts'
import type { Command } from './cli/command-line/flags.ts'
import { painter } from './cli/output/terminal.ts'
import { DEFAULT_CONTAINERD, pulseSocketOf } from './cli/sockets.ts'
import type { Wiring } from './cli/wiring.ts'
import { forThisNode } from './config/for-node.ts'
import { guardedLoad } from './config/guarded-load.ts'
import { asAgentError } from './model/errors.ts'
import type { CriConnector, RestartPermit } from './model/ports.ts'
import { systemClock } from './node/clock.ts'
import { connectCri } from './node/cri/client.ts'
import { criPulse, proxiedPulse } from './node/cri/pulse.ts'
import { nodeFiles } from './node/files/files.ts'
import { inputFiles } from './node/files/input-files.ts'
import { mounts } from './node/files/mounts.ts'
import { outputFile } from './node/files/output-file.ts'
import { rememberedFiles } from './node/files/remembered-files.ts'
import { processes } from './node/processes/processes.ts'
import { unitLog } from './node/processes/unit-log.ts'
import { rehearsalRunner } from './node/rehearsal/rehearsal.ts'
import { fragmentStore } from './node/state/fragment-store.ts'
import { grantStore } from './node/state/grant-store.ts'
import { nodeLock } from './node/state/lock.ts'
import { restartStore } from './node/state/restart-store.ts'
import { ensureFolder, stateStore } from './node/state/state-store.ts'
import { withSteadyTimes } from './node/state/steady-times.ts'
import { restarterClient } from './node/systemd/restarter-client.ts'
import { awaitSockets } from './node/systemd/sidecar-sockets.ts'
import { systemd } from './node/systemd/systemd.ts'
import { keepHeapSmall } from './node/threads/heap.ts'
import { readingThread } from './node/threads/reading-thread.ts'
import { registryLogin } from './node/tls/registry-login.ts'
import { tlsProbe } from './node/tls/tls.ts'
import { watchFolder } from './node/watch/folder-watch.ts'
import { nodeWatcher, watcher } from './node/watch/watch.ts'
import { observeNodeFacts } from './reconcile/observe/node-facts.ts'
import { createLoginDesk } from './reconcile/prove/login.ts'
import { withoutPrivateKeys } from './reconcile/transaction/private-keys.ts'
import { pausedPermit } from './restart/paused-permit.ts'
import { createLog } from './telemetry/log.ts'
import { logLevels } from './telemetry/log-level.ts'

/** Filled in by the bundler. */
declare const REGISTRY_TRUST_VERSION: string | undefined
const IS_BUNDLE = typeof REGISTRY_TRUST_VERSION === 'string'
const VERSION = IS_BUNDLE ? REGISTRY_TRUST_VERSION : '0.0.0-source'
const READER = join(import.meta.dirname, IS_BUNDLE ? 'registry-trust-reader.cjs' : 'main-reader.ts')

/** Loaded when it is run: the daemon's packages would cost the other commands half their time. */
const COMMANDS: { readonly [name in Command]: (wiring: Wiring) => Promise<number> } = {
  agent: async (wiring) => (await import('./cli/commands/agent.ts')).agentCommand(wiring),
  plan: async (wiring) => (await import('./cli/commands/plan.ts')).planCommand(wiring),
  apply: async (wiring) => (await import('./cli/commands/apply.ts')).applyCommand(wiring),
  probe: async (wiring) => (await import('./cli/commands/probe.ts')).probeCommand(wiring),
  publish: async (wiring) => (await import('./cli/commands/publish.ts')).publishCommand(wiring),
  fleet: async (wiring) => (await import('./cli/commands/fleet.ts')).fleetCommand(wiring),
  lint: async (wiring) => (await import('./cli/commands/lint.ts')).lintCommand(wiring),
  inspect: async (wiring) => (await import('./cli/commands/inspect.ts')).inspectCommand(wiring),
  explain: async (wiring) => (await import('./cli/commands/explain.ts')).explainCommand(wiring),
  doctor: async (wiring) => (await import('./cli/commands/doctor.ts')).doctorCommand(wiring),
  'support-bundle': async (wiring) => (await import('./cli/commands/support-bundle.ts')).supportBundleCommand(wiring),
  migrate: async (wiring) => (await import('./cli/commands/migrate.ts')).migrateCommand(wiring),
  rollback: async (wiring) => (await import('./cli/commands/rollback.ts')).rollbackCommand(wiring),
  uninstall: async (wiring) => (await import('./cli/commands/uninstall.ts')).uninstallCommand(wiring),
  'cri-proxy': async (wiring) => (await import('./cli/commands/cri-proxy.ts')).criProxyCommand(wiring),
  restarter: async (wiring) => (await import('./cli/commands/restarter.ts')).restarterCommand(wiring),
  sidecar: async (wiring) => (await import('./cli/commands/sidecar.ts')).sidecarCommand(wiring),
  bootstrap: async (wiring) => (await import('./cli/commands/bootstrap.ts')).bootstrapCommand(wiring),
  completion: async (wiring) => (await import('./cli/commands/completion.ts')).completionCommand(wiring),
  man: async (wiring) => (await import('./cli/commands/completion.ts')).manCommand(wiring),
  status: async (wiring) => (await import('./cli/commands/status.ts')).statusCommand(wiring),
}

/** They speak to the runtime, and end; the daemon tries again by itself. */
const SPEAKS_ONCE: ReadonlySet<Command> = new Set<Command>([
  'plan',
  'apply',
  'explain',
  'doctor',
  'support-bundle',
  'migrate',
  'rollback',
  'uninstall',
])

async function main(): Promise<number> {
  const invocation = parseCommandLine(process.argv.slice(2), process.env)
  if (invocation.kind === 'version') {
    process.stdout.write(`registry-trust ${VERSION}\n`)
    return 0
  }
  if (invocation.kind === 'help') {
    const stream = invocation.exitCode === 0 ? process.stdout : process.stderr
    stream.write(invocation.text)
    return invocation.exitCode
  }
  // With `plan | head -1` the closed pipe must not end the process in the middle of a change; the exit code still tells
  // how it went.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE')
      process.stderr.write(`registry-trust: the answer could not be written: ${error.message}\n`)
  })
  process.stderr.on('error', () => undefined)
  const { command, options } = invocation
  if (SPEAKS_ONCE.has(command)) await awaitSockets([options.criProxy, options.restarterSocket])
  // A lost connection to the machine is no reason to leave a change half done, and unproved.
  if (CHANGE_THE_NODE.includes(command)) process.on('SIGHUP', () => undefined)
  return COMMANDS[command](wire(isSidecar(command) ? options : behindSidecars(options), command))
}

const CHANGE_THE_NODE: readonly Command[] = ['apply', 'migrate', 'rollback', 'uninstall']

function isSidecar(command: Command): boolean {
  return command === 'cri-proxy' || command === 'restarter' || command === 'sidecar'
}

/** Behind the proxy the sockets of the node cannot be searched: the usual address is taken unless one is given. */
function behindSidecars(options: Options): Wired {
  const { criProxy, restarterSocket, containerdAddress } = options
  return {
    ...options,
    ...(criProxy !== undefined && {
      behindProxy: criProxy,
      containerdAddress: containerdAddress ?? DEFAULT_CONTAINERD,
    }),
    ...(restarterSocket !== undefined && { behindRestarter: restarterSocket }),
  }
}

type Wired = Options & { readonly behindProxy?: string; readonly behindRestarter?: string }

// On this node nobody else restarts containerd; whether the fleet allows it is asked before
// (reconcile/restart/gate.ts).
const ALWAYS: RestartPermit = { ask: async () => ({ granted: true, release: async () => undefined }) }

/** What they do is for every node. */
const FOR_ALL_NODES: ReadonlySet<Command> = new Set<Command>(['publish', 'fleet', 'cri-proxy', 'restarter', 'sidecar'])

function wire(options: Wired, command: Command): Wiring {
  const stopping = new AbortController()
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => stopping.abort(name))
  const node = options.nodeName ?? hostname()
  const log = createLog({ level: options.logLevel, format: options.logFormat })
  const files = nodeFiles({ root: options.root })
  const inputs = inputFiles()
  const clock = systemClock()
  const fragments = fragmentStore({ files, folder: options.stateDir })
  const { behindProxy, behindRestarter } = options
  const remembered = stateStore({ files, folder: options.stateDir })
  const restarts = restartStore({
    files,
    folder: options.stateDir,
    root: options.root,
    clock,
    log,
    audit: (line) => remembered.audit(line),
  })
  const onNode: CriConnector = (socket) => connectCri(behindProxy ?? files.hostPath(socket))
  const thread = readingThread({ program: READER })
  const loadConfig = guardedLoad({ paths: options.config, files: inputs, clock, thread, fragments })
  const about = {
    name: node,
    arch: process.arch,
    address: options.containerdAddress,
    labelsFile: options.nodeLabels,
    fleetFolder: options.fleet,
  }
  return {
    options,
    version: VERSION,
    node,
    files,
    remembered: rememberedFiles(files, { root: options.root }),
    inputs,
    grants: grantStore({ files, folder: options.stateDir }),
    log,
    levels: logLevels({ log, clock }),
    watcher: watcher({ log }),
    nodeWatcher: nodeWatcher({ log }),
    watchRecords: (told) => watchFolder(files.hostPath(`${options.stateDir}/restart`), 0, told),
    mounts: mounts(),
    pulse: behindProxy === undefined ? criPulse(files.hostPath) : proxiedPulse(pulseSocketOf(behindProxy)),
    signal: stopping.signal,
    createMetrics: async () => (await import('./telemetry/metrics.ts')).createMetrics({ version: VERSION }),
    paint: painter(process.stdout.isTTY === true, process.env),
    print: (text) => process.stdout.write(text),
    note: (text) => process.stderr.write(text),
    printBytes: (bytes) => process.stdout.write(bytes),
    outputFile,
    keepHeapSmall,
    unitLog: unitLog({ root: options.root }),
    screen: process.stdout.isTTY
      ? { columns: () => process.stdout.columns || 80, rows: () => process.stdout.rows || 24 }
      : undefined,
    connectCluster: async () =>
      (await import('./cluster/kubernetes-api.ts')).kubernetesApi({ kubeconfig: options.kubeconfig, log }),
    loadConfig: FOR_ALL_NODES.has(command)
      ? loadConfig
      : forThisNode(loadConfig, (needed) => observeNodeFacts(needed, about, { files, inputs, connectCri: onNode })),
    fragments,
    ports: {
      files,
      clock,
      log,
      tls: tlsProbe(),
      connectCri: onNode,
      processes: processes({ root: options.root }),
      systemd:
        behindRestarter === undefined
          ? systemd({ busSocket: files.hostPath('/run/dbus/system_bus_socket') })
          : restarterClient({ socket: behindRestarter }),
      runner: rehearsalRunner({ connect: connectCri }),
      store: withoutPrivateKeys(withSteadyTimes(remembered, { clock, bootId: restarts.bootId })),
      logins: createLoginDesk({ inputs, files, clock, login: registryLogin() }),
      lock: nodeLock({
        async folder() {
          await ensureFolder(files, options.stateDir)
          const [above, name] = [posix.dirname(options.stateDir), posix.basename(options.stateDir)]
          return files.within(above, async (entry) => join(await realpath(entry('.')), name))
        },
      }),
      permit: behindRestarter === undefined ? ALWAYS : pausedPermit(ALWAYS, { restarts, clock }),
      restarts,
    },
  }
}

// Nobody reads the answer any more, as with `| head`.
process.stdout.on('error', () => process.exit(1))

main().then(
  // What a pipe has not taken yet would be lost.
  (code) => process.stdout.write('', () => process.exit(code)),
  (thrown: unknown) => {
    const error = asAgentError(thrown)
    process.stderr.write(`registry-trust: ${error.message}\n  ${error.remedy}\n`)
    if (error.code === 'INTERNAL' && error.cause instanceof Error) process.stderr.write(`${error.cause.stack}\n`)
    process.exit(error.code === 'USAGE' ? 64 : 1)
  },
)
