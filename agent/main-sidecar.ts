#!/usr/bin/env node
// Composition root of the sidecars in the image: the same commands as main.ts has, with only what they need, in a file
// small enough for a heap of 16 MiB.
import { join } from 'node:path'
import { parseCommandLine } from './cli/command-line/args.ts'
import { guardedLoad } from './config/guarded-load.ts'
import { AgentError, asAgentError } from './model/errors.ts'
import { systemClock } from './node/clock.ts'
import { nodeFiles } from './node/files/files.ts'
import { inputFiles } from './node/files/input-files.ts'
import { readingThread } from './node/threads/reading-thread.ts'
import type { CriAnswers } from './restart/evidence.ts'
import { createLog } from './telemetry/log.ts'

/** Filled in by the bundler. */
declare const REGISTRY_TRUST_VERSION: string | undefined
const IS_BUNDLE = typeof REGISTRY_TRUST_VERSION === 'string'
const READER = join(import.meta.dirname, IS_BUNDLE ? 'registry-trust-reader.cjs' : 'main-reader.ts')

/** gRPC takes a third of the heap, and is needed only where a restart has to be finished. */
function lazyCri(path: string): CriAnswers {
  const client = import('./node/cri/client.ts').then(({ connectCri }) => connectCri(path))
  return {
    version: async (options) => (await client).version(options),
    status: async (options) => (await client).status(options),
    containerStart: async (id, options) => (await client).containerStart(id, options),
    close: () => void client.then((connected) => connected.close()),
  }
}

async function main(): Promise<number> {
  const invocation = parseCommandLine(process.argv.slice(2), process.env)
  if (invocation.kind !== 'run') throw new AgentError('USAGE', 'this file runs the sidecars: cri-proxy or restarter')
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
  const wiring = { options, log, loadConfig, signal: stopping.signal }
  switch (command) {
    case 'cri-proxy': {
      const [{ criProxyCommand }, { connectCri }, { criPulse }] = await Promise.all([
        import('./cli/commands/cri-proxy.ts'),
        import('./node/cri/client.ts'),
        import('./node/cri/pulse.ts'),
      ])
      const ports = { clock, connectCri: (path: string) => connectCri(files.hostPath(path)) }
      return criProxyCommand({ ...wiring, pulse: criPulse(files.hostPath), ports })
    }
    case 'restarter': {
      const [{ restarterCommand }, { systemd }, { restartStore }, { stateStore }] = await Promise.all([
        import('./cli/commands/restarter.ts'),
        import('./node/systemd/systemd.ts'),
        import('./node/state/restart-store.ts'),
        import('./node/state/state-store.ts'),
      ])
      const bus = systemd({ busSocket: files.hostPath('/run/dbus/system_bus_socket') })
      const { stateDir: folder, root, criProxy } = options
      const restarts = restartStore({ files, folder, root, clock })
      const store = stateStore({ files, folder })
      const connectCri = (socket: string) => lazyCri(criProxy ?? files.hostPath(socket))
      return restarterCommand({ ...wiring, ports: { clock, files, systemd: bus, restarts, store, connectCri } })
    }
    default:
      throw new AgentError('USAGE', `this file runs the sidecars, not ${command}`)
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
