#!/usr/bin/env node
// Composition root of the sidecars in the image: the same commands as main.ts has, with only what they need, in a file
// small enough for a heap of 16 MiB.
import { join } from 'node:path'
import { parseCommandLine } from './cli/command-line/args.ts'
import type { Wiring } from './cli/wiring.ts'
import { guardedLoad } from './config/guarded-load.ts'
import { AgentError, asAgentError } from './model/errors.ts'
import type { Clock, NodeFiles } from './model/ports.ts'
import { systemClock } from './node/clock.ts'
import { nodeFiles } from './node/files/files.ts'
import { inputFiles } from './node/files/input-files.ts'
import { readingThread } from './node/threads/reading-thread.ts'
import { watchFolder } from './node/watch/folder-watch.ts'
import type { CriAnswers } from './restart/evidence.ts'
import { createLog } from './telemetry/log.ts'

/** Filled in by the bundler. */
declare const REGISTRY_TRUST_VERSION: string | undefined
const IS_BUNDLE = typeof REGISTRY_TRUST_VERSION === 'string'
const READER = join(import.meta.dirname, IS_BUNDLE ? 'registry-trust-reader.cjs' : 'main-reader.ts')

type Given = Pick<Wiring, 'options' | 'log' | 'loadConfig' | 'signal' | 'inputs' | 'watchRecords'>
type Ports = { readonly files: NodeFiles; readonly clock: Clock }

async function main(): Promise<number> {
  const invocation = parseCommandLine(process.argv.slice(2), process.env)
  if (invocation.kind !== 'run')
    throw new AgentError('USAGE', 'this file runs the sidecars: cri-proxy, restarter, or sidecar for both')
  const { command, options } = invocation
  const stopping = new AbortController()
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => stopping.abort(name))
  const log = createLog({ level: options.logLevel, format: options.logFormat })
  const [files, inputs, clock] = [nodeFiles({ root: options.root }), inputFiles(), systemClock()]
  const loadConfig = guardedLoad({
    paths: options.config,
    files: inputs,
    clock,
    thread: readingThread({ program: READER, heapMb: 40 }),
  })
  const given: Given = {
    options,
    log,
    loadConfig,
    inputs,
    signal: stopping.signal,
    watchRecords: (told) => watchFolder(files.hostPath(`${options.stateDir}/restart`), 0, told),
  }
  const ports = { files, clock }
  switch (command) {
    case 'cri-proxy': {
      const { criProxyCommand } = await import('./cli/commands/cri-proxy.ts')
      return criProxyCommand(await withContainerd(given, ports))
    }
    case 'restarter': {
      const { restarterCommand } = await import('./cli/commands/restarter.ts')
      const { criProxy } = options
      const connectCri = (socket: string) => lazyCri(criProxy ?? files.hostPath(socket))
      return restarterCommand({ ...given, ports: { ...(await restarterPorts(given, ports)), connectCri } })
    }
    case 'sidecar': {
      const { sidecarCommand } = await import('./cli/commands/sidecar.ts')
      const containerd = await withContainerd(given, ports)
      return sidecarCommand({
        ...containerd,
        ports: { ...(await restarterPorts(given, ports)), ...containerd.ports },
      })
    }
    default:
      throw new AgentError('USAGE', `this file runs the sidecars, not ${command}`)
  }
}

async function withContainerd(given: Given, { files, clock }: Ports) {
  const [{ connectCri }, { criPulse }] = await Promise.all([
    import('./node/cri/client.ts'),
    import('./node/cri/pulse.ts'),
  ])
  const ports = { clock, connectCri: (path: string) => connectCri(files.hostPath(path)) }
  return { ...given, pulse: criPulse(files.hostPath), ports }
}

async function restarterPorts({ options, log }: Given, { files, clock }: Ports) {
  const { stateDir: folder, root } = options
  const [{ systemd }, { restartStore }, { stateStore }] = await Promise.all([
    import('./node/systemd/systemd.ts'),
    import('./node/state/restart-store.ts'),
    import('./node/state/state-store.ts'),
  ])
  const store = stateStore({ files, folder })
  return {
    clock,
    files,
    systemd: systemd({ busSocket: files.hostPath('/run/dbus/system_bus_socket') }),
    restarts: restartStore({ files, folder, root, clock, log, audit: (line) => store.audit(line) }),
    store,
  }
}

/** A restarter by itself needs containerd only where a restart has to be finished. */
function lazyCri(path: string): CriAnswers {
  const client = import('./node/cri/client.ts').then(({ connectCri }) => connectCri(path))
  return {
    version: async (options) => (await client).version(options),
    status: async (options) => (await client).status(options),
    containerStart: async (id, options) => (await client).containerStart(id, options),
    close: () => void client.then((connected) => connected.close()),
  }
}

main().then(
  (code) => process.exit(code),
  (thrown: unknown) => {
    const error = asAgentError(thrown)
    process.stderr.write(`registry-trust: ${error.message}\n  ${error.remedy}\n`)
    process.exit(error.code === 'USAGE' ? 64 : 1)
  },
)
