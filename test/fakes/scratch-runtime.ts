// A node without containerd: the agent's real files, state, journal and lock on a scratch root, and a stand-in for the runtime that
// behaves like containerd in the one respect that matters here: it loads config.toml when it is restarted and host directories at once.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { CriClient, Log, ProcessInfo, UnitFacts } from '../../agent/model/ports.ts'
import { systemClock } from '../../agent/node/clock.ts'
import { nodeFiles } from '../../agent/node/files.ts'
import { nodeLock } from '../../agent/node/lock.ts'
import { stateStore } from '../../agent/node/state-store.ts'
import { tlsProbe } from '../../agent/node/tls.ts'
import type { RunPorts } from '../../agent/reconcile/run.ts'

export const SOCKET = '/run/containerd/containerd.sock'
export const CONFIG = '/etc/containerd/config.toml'
export const CERTS_D = '/etc/containerd/certs.d'
export const STATE = '/var/lib/registry-trust'

const VERSION = '1.7.24'
const PID = 4711
const SILENT: Log = { debug() {}, info() {}, warn() {}, error() {} }
const PROCESS: ProcessInfo = {
  pid: PID,
  executable: '/usr/bin/containerd',
  argv: ['/usr/bin/containerd'],
  environment: {},
  startedAt: 0,
  unit: 'containerd.service',
}
const UNIT: UnitFacts = {
  name: 'containerd.service',
  loadState: 'loaded',
  activeState: 'active',
  subState: 'running',
  mainPid: PID,
  killMode: 'process',
  execStart: ['/usr/bin/containerd'],
  environment: {},
  restarts: 0,
  result: 'success',
}

/** config.toml as the stand-in has loaded it lies beside the root: it outlives the agent's process, as containerd does. */
function runtime(root: string) {
  const memory = `${root}.loaded`
  const config = () => (existsSync(memory) ? readFileSync(memory, 'utf8') : '')
  return {
    loaded: () => /^\s*config_path = "([^"]+)"/m.exec(config())?.[1] ?? '',
    caFiles: () => [...config().matchAll(/^\s*ca_file = "([^"]+)"/gm)].map((match) => match[1] ?? ''),
    restart() {
      writeFileSync(memory, existsSync(join(root, CONFIG)) ? readFileSync(join(root, CONFIG), 'utf8') : '')
    },
  }
}

function criClient(root: string, isTrusted: (host: string) => boolean): CriClient {
  return {
    version: async () => ({ runtimeName: 'containerd', runtimeVersion: VERSION }),
    status: async () => ({
      runtimeReady: true,
      networkReady: true,
      deprecations: [],
      loadedConfigPath: runtime(root).loaded(),
      loadedLegacy: runtime(root).caFiles().length > 0,
      loadedTlsFiles: runtime(root).caFiles(),
    }),
    async pullImage(reference) {
      const host = reference.split('/')[0] ?? ''
      if (isTrusted(host))
        return {
          ok: false,
          status: 'NOT_FOUND',
          text: `failed to pull and unpack image "${reference}": failed to resolve reference "${reference}": ${reference}: not found`,
        }
      const cause = 'tls: failed to verify certificate: x509: certificate signed by unknown authority'
      return {
        ok: false,
        status: 'UNKNOWN',
        text: `failed to pull and unpack image "${reference}": failed to resolve reference "${reference}": failed to do request: Head "https://${host}/v2/": ${cause}`,
      }
    },
    digestsFrom: async () => [],
    imageExists: async () => false,
    runningContainers: async () => [],
    containerStart: async (id) => ({ id, state: 'RUNNING', startedAt: '' }),
    activity: async () => ({ downloads: [], created: [] }),
    close() {},
  }
}

export function scratchPorts(root: string): RunPorts {
  const { loaded, caFiles, restart } = runtime(root)
  const files = nodeFiles({ root })
  const isServed = (host: string) => {
    const legacy = `/etc/containerd/registry-trust/${host}/ca.crt`
    if (caFiles().includes(legacy) && existsSync(join(root, legacy))) return true
    const folder = join(root, CERTS_D, host)
    return loaded() === CERTS_D && existsSync(join(folder, 'hosts.toml')) && existsSync(join(folder, 'ca.crt'))
  }
  return {
    files,
    clock: systemClock(),
    log: SILENT,
    tls: tlsProbe(),
    connectCri: () => criClient(root, isServed),
    processes: { listeningOn: async () => [PROCESS], isAlive: () => true, terminate() {} },
    systemd: {
      isAvailable: async () => true,
      unit: async () => UNIT,
      resetFailed: async () => undefined,
      async restart() {
        restart()
        return { result: 'done', durationMs: 0 }
      },
    },
    runner: {
      version: async () => VERSION,
      scratch: async () => ({ folder: '/scratch', write: async () => undefined, dispose: async () => undefined }),
      start: async () => ({ started: true, cri: criClient(root, () => true), stop: async () => undefined }),
    },
    store: stateStore({ files, folder: STATE }),
    lock: nodeLock({ folder: join(root, STATE) }),
    permit: { ask: async () => ({ granted: true, release: async () => undefined }) },
  }
}
