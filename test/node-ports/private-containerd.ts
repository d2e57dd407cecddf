// A real containerd on temporary folders, for tests of the CRI client and of /proc.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { CriClient } from '../../agent/model/ports.ts'
import { findGenerations, type Generation, machineGeneration } from '../node/generations.ts'

/** Every generation that was fetched, or the machine's own; none at all is an error of the caller's test. */
export function generations(): readonly Generation[] {
  const { found } = findGenerations()
  return found.length > 0 ? found : [machineGeneration()]
}

/** A folder with a short name (socket paths!), removed by the test's teardown. */
export function shortFolder(test: Tap): string {
  const folder = mkdtempSync(join(tmpdir(), 'np-'))
  test.teardown(() => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }))
  return folder
}

type Tap = { teardown(work: () => unknown): unknown }

/** A configuration that is safe beside a live daemon: nothing of it listens or writes outside `folder`. */
export function sanitisedConfig(generation: Generation, folder: string, registry = ''): string {
  const { configVersion, registryPlugin } = generation.expected
  const cni = configVersion === 2 ? 'io.containerd.grpc.v1.cri' : 'io.containerd.cri.v1.runtime'
  return `version = ${configVersion}
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt"]
required_plugins = ["io.containerd.grpc.v1.cri"]
[plugins."${cni}".cni]
conf_dir = "${folder}/cni"
[plugins."${registryPlugin}".registry]
${registry === '' ? `config_path = "${folder}/certs.d"` : registry}
`
}

export type PrivateContainerd = {
  readonly socket: string
  pid(): number
  stop(): Promise<void>
  /** Ends it and starts it again, at once, on the same folders. */
  restart(): Promise<void>
}

export async function startContainerd(
  test: Tap,
  generation: Generation,
  folder: string,
  config: string,
): Promise<PrivateContainerd> {
  const socket = join(folder, 'c.sock')
  writeFileSync(join(folder, 'config.toml'), config)
  let child = launch(generation, folder, socket)
  const stop = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGTERM')
    await once(child, 'exit')
  }
  test.teardown(stop)
  await until(() => existsSync(socket))
  return {
    socket,
    pid: () => child.pid ?? 0,
    stop,
    async restart() {
      await stop()
      child = launch(generation, folder, socket)
    },
  }
}

function launch(generation: Generation, folder: string, socket: string): ChildProcess {
  const flags = [
    '-c',
    join(folder, 'config.toml'),
    '--root',
    join(folder, 'root'),
    '--state',
    join(folder, 'state'),
    '--address',
    socket,
  ]
  return spawn(join(generation.bin, 'containerd'), flags, {
    env: { PATH: `${generation.bin}:/usr/bin:/bin`, HOME: folder, HTTPS_PROXY: 'http://127.0.0.1:9', SECRET: 'hidden' },
    stdio: 'ignore',
  })
}

/** Waits until the CRI answers, as the agent does after a restart; returns how long that took. */
export async function untilCriAnswers(cri: CriClient): Promise<number> {
  const started = performance.now()
  await until(() =>
    cri.version({ timeoutMs: 1000 }).then(
      () => true,
      () => false,
    ),
  )
  return performance.now() - started
}

export async function until(holds: () => boolean | Promise<boolean>, timeoutMs = 30_000): Promise<void> {
  const end = performance.now() + timeoutMs
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`still not true after ${timeoutMs} ms: ${holds}`)
    await sleep(5)
  }
}

/** The file is there a moment before the program listens on it. */
export async function listening(socket: string): Promise<void> {
  const tryOnce = async () => {
    const client = connect(socket)
    const connected = await once(client, 'connect').then(
      () => true,
      () => false,
    )
    client.destroy()
    return connected
  }
  await until(tryOnce)
}
