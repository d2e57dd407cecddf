// Who listens on a unix socket, from /proc (port Processes). The rule: what /proc does not show is "nobody", never an error: in a Pod
// without the host's pid namespace the daemon can not be seen.
import { existsSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import { AgentError } from '../model/errors.ts'
import type { Processes, ProcessInfo } from '../model/ports.ts'
import { relevantEnvironment } from './environment.ts'
import { errnoOf } from './rooted-folder.ts'

/** USER_HZ, the unit of /proc/PID/stat: 100 on every architecture that containerd runs on. */
const TICKS_PER_SECOND = 100
/** __SO_ACCEPTCON in the Flags column of /proc/net/unix: accepted connections carry the listener's path too. */
const LISTENING = 0x10000

/** `root` is the node's file system in the agent's view, as for the socket path: sockets are compared below it. */
export function processes({ root = '/' }: { readonly root?: string } = {}): Processes {
  return {
    async listeningOn(socket) {
      const inodes = listenersOf(socket, root)
      if (inodes.size === 0) return []
      const holders: ProcessInfo[] = []
      for (const pid of allPids()) {
        // A busy node has thousands of descriptors: let the rest of the agent breathe.
        await setImmediate()
        if (!holdsOneOf(pid, inodes)) continue
        const info = describe(pid)
        if (info !== undefined && !isShim(info)) holders.push(info)
      }
      // With socket activation pid 1 holds the socket as well; it is never the daemon then.
      return holders.length > 1 ? holders.filter(({ pid }) => pid !== 1) : holders
    },
    isAlive(pid) {
      const stat = statFields(pid)
      return stat !== undefined && stat.state !== 'Z' && stat.state !== 'X'
    },
    terminate(pid) {
      if (pid <= 1) throw new AgentError('RESTART_FAILED', `refused to end process ${pid}`, { pid })
      try {
        process.kill(pid, 'SIGTERM')
      } catch (error) {
        const why = errnoOf(error) === 'ESRCH' ? 'it does not live any more' : 'operation not permitted'
        throw new AgentError('RESTART_FAILED', `can not end process ${pid}: ${why}`, { pid }, { cause: error })
      }
    },
  }
}

/** Socket inodes that listen on the path: in our own network namespace, else in one of the others that can be seen. */
function listenersOf(socket: string, root: string): ReadonlySet<string> {
  const seen = new Set([namespaceOf('self')])
  const own = listeners(readProc('self/net/unix'), socket, root)
  if (own.size > 0) return own
  const found = new Set<string>()
  for (const pid of allPids()) {
    const namespace = namespaceOf(pid)
    if (namespace === undefined || seen.has(namespace)) continue
    seen.add(namespace)
    for (const inode of listeners(readProc(`${pid}/net/unix`), socket, root)) found.add(inode)
  }
  return found
}

/** `Num RefCount Protocol Flags Type St Inode Path`; the path is the one that the daemon bound, so without our root. */
function listeners(table: string, socket: string, root: string): ReadonlySet<string> {
  const below = root === '/' || !socket.startsWith(`${root}/`) ? socket : socket.slice(root.length)
  const paths = new Set([socket, below].flatMap((path) => [path, path.replace(/^\/run\//, '/var/run/')]))
  const rows = table.split('\n').map((line) => line.trim().split(/\s+/))
  return new Set(
    rows
      .filter(
        ([, , , flags, , , , path]) =>
          path !== undefined && paths.has(path) && (Number.parseInt(flags ?? '', 16) & LISTENING) !== 0,
      )
      .map(([, , , , , , inode]) => inode ?? ''),
  )
}

function holdsOneOf(pid: number, inodes: ReadonlySet<string>): boolean {
  const folder = `/proc/${pid}/fd`
  try {
    return readdirSync(folder).some((descriptor) => {
      const inode = /^socket:\[(\d+)\]$/.exec(readLink(`${folder}/${descriptor}`) ?? '')?.[1]
      return inode !== undefined && inodes.has(inode)
    })
  } catch {
    // Ended meanwhile, or not ours to look at.
    return false
  }
}

function describe(pid: number): ProcessInfo | undefined {
  const link = readLink(`/proc/${pid}/exe`)
  const stat = statFields(pid)
  if (link === undefined || stat === undefined) return undefined
  const { executable, replaced } = executableOf(pid, link)
  const unit = unitOf(readProc(`${pid}/cgroup`))
  return {
    pid,
    executable,
    ...(replaced ? { executableReplaced: true } : {}),
    argv: strings(readProc(`${pid}/cmdline`)),
    environment: relevantEnvironment(strings(readProc(`${pid}/environ`))),
    startedAt: bootTimeMs() + (stat.startTicks * 1000) / TICKS_PER_SECOND,
    ...(unit === undefined ? {} : { unit }),
  }
}

/** A package upgrade renames a new file over the running one: the link then ends in ` (deleted)`, or the path is another file. */
function executableOf(pid: number, link: string): { readonly executable: string; readonly replaced: boolean } {
  const executable = link.replace(/ \(deleted\)$/, '')
  if (executable !== link) return { executable, replaced: true }
  try {
    const running = statSync(`/proc/${pid}/exe`)
    const onDisk = statSync(`/proc/${pid}/root${executable}`)
    return { executable, replaced: running.ino !== onDisk.ino || running.dev !== onDisk.dev }
  } catch {
    return { executable, replaced: false }
  }
}

/** The innermost service of the cgroup path: `/system.slice/k3s.service/init` is of k3s.service. */
function unitOf(cgroups: string): string | undefined {
  const line = [...cgroups.matchAll(/^(?:0:|\d+:name=systemd):(.*)$/gm)]
    .map((match) => match[1] ?? '')
    .find((each) => each.includes('.service'))
  return line
    ?.split('/')
    .filter((part) => part.endsWith('.service'))
    .at(-1)
}

function isShim(info: ProcessInfo): boolean {
  return info.executable.slice(info.executable.lastIndexOf('/') + 1).startsWith('containerd-shim')
}

/** The name in field 2 may hold spaces and brackets: the other fields begin after the last bracket. */
function statFields(pid: number): { readonly state: string; readonly startTicks: number } | undefined {
  const stat = readProc(`${pid}/stat`)
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const [state, startTicks] = [fields[0], fields[19]]
  if (state === undefined || startTicks === undefined) return undefined
  return { state, startTicks: Number(startTicks) }
}

function bootTimeMs(): number {
  return Number(/^btime (\d+)$/m.exec(readProc('stat'))?.[1] ?? 0) * 1000
}

function allPids(): readonly number[] {
  if (!existsSync('/proc')) return []
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
}

function namespaceOf(process: number | 'self'): string | undefined {
  return readLink(`/proc/${process}/ns/net`)
}

function readProc(path: string): string {
  try {
    return readFileSync(`/proc/${path}`, 'utf8')
  } catch {
    // Ended meanwhile, or not ours to read.
    return ''
  }
}

function readLink(path: string): string | undefined {
  try {
    return readlinkSync(path)
  } catch {
    return undefined
  }
}

function strings(text: string): readonly string[] {
  return text.split('\0').filter((part) => part !== '')
}
