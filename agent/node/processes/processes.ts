// Who listens on a unix socket, from /proc (port Processes). The rule: what /proc does not show is "nobody", never an
// error: in a Pod without the host's pid namespace the daemon cannot be seen.
// This room: processes of the node, and programs that are run for a moment: the ports Processes and UnitLog.
// Begin here; then short-run.ts (a program that answers at once).
// May touch: /proc, read alone, but for `terminate`.
import { existsSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import { basename } from 'node:path/posix'
import { setImmediate } from 'node:timers/promises'
import { AgentError } from '../../model/errors.ts'
import type { Processes, ProcessInfo } from '../../model/ports.ts'
import { errnoOf } from '../files/rooted-folder.ts'
import { relevantEnvironment } from './environment.ts'

/** USER_HZ, the unit of /proc/PID/stat: 100 on every architecture that containerd runs on. */
const TICKS_PER_SECOND = 100
/** __SO_ACCEPTCON in the Flags column of /proc/net/unix: accepted connections carry the listener's path too. */
const LISTENING = 0x10000

/**
 * `root` is the node's file system in the agent's view, as for the socket path: the daemon bound the path without it.
 */
export function processes({ root = '/' }: { readonly root?: string } = {}): Processes {
  const found: FoundHolders = new Map()
  return {
    async listeningOn(socket) {
      const names = namesOf(socket, root)
      const own = await holdersOf(socket, listeners('self', names), found)
      const holders = own.length > 0 ? own : await holdersOf(socket, otherNamespaces(names), found)
      const daemons = withoutForks(
        holders.flatMap((pid) => describe(pid) ?? []).filter(({ executable }) => !isShim(executable)),
      )
      // With socket activation pid 1 holds the socket as well; it is never the daemon then.
      return daemons.length > 1 ? daemons.filter(({ pid }) => pid !== 1) : daemons
    },
    isAlive(pid) {
      const stat = statFields(pid)
      return stat !== undefined && stat.state !== 'Z' && stat.state !== 'X'
    },
    runningAs({ executable, argv }) {
      const command = argv.join('\0')
      const found = allPids().filter(
        (pid) =>
          readLink(`/proc/${pid}/exe`)?.replace(/ \(deleted\)$/, '') === executable &&
          strings(readProc(`${pid}/cmdline`)).join('\0') === command &&
          statFields(pid)?.state !== 'Z',
      )
      // Between fork and exec a child still looks like its parent.
      return found.filter((pid) => !found.includes(statFields(pid)?.parent ?? 0))
    },
    ofServices(names) {
      return allPids().flatMap((pid) => {
        const name = readProc(`${pid}/comm`).trimEnd()
        const unit = names.has(name) ? unitOf(readProc(`${pid}/cgroup`)) : undefined
        const stat = unit === undefined ? undefined : statFields(pid)
        if (unit === undefined || stat === undefined || stat.state === 'Z') return []
        // Without CAP_SYS_PTRACE that of others is not to be read, and empty here.
        const environment = relevantEnvironment(strings(readProc(`${pid}/environ`)))
        return [{ pid, name, unit, startedAt: startOf(stat), environment }]
      })
    },
    terminate(pid) {
      // 0 and below mean whole process groups, and 1 the node.
      if (!Number.isInteger(pid) || pid <= 1)
        throw new AgentError('RESTART_FAILED', `refused to end process ${pid}`, { pid })
      try {
        process.kill(pid, 'SIGTERM')
      } catch (error) {
        const why = errnoOf(error) === 'ESRCH' ? 'it has ended' : 'operation not permitted'
        throw new AgentError('RESTART_FAILED', `cannot end process ${pid}: ${why}`, { pid }, { cause: error })
      }
    },
  }
}

/** What the daemon may have called it when it bound it: with or without our root, and /run by its old name. */
function namesOf(socket: string, root: string): ReadonlySet<string> {
  const top = root.replace(/\/+$/, '')
  const below = socket.startsWith(`${top}/`) ? socket.slice(top.length) : socket
  return new Set([socket, ...aliases(below)])
}

function aliases(path: string): readonly string[] {
  return [path, path.replace(/^\/run\//, '/var/run/'), path.replace(/^\/var\/run\//, '/run/')]
}

/**
 * Socket inode to bound path, out of `Num RefCount Protocol Flags Type St Inode Path` of the network namespace of a
 * process.
 */
function listeners(process: number | 'self', names: ReadonlySet<string>): ReadonlyMap<string, string> {
  const rows = readProc(`${process}/net/unix`)
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
  return new Map(
    rows.flatMap(([, , , flags = '', , , inode = '', path = '']): [string, string][] =>
      names.has(path) && (Number.parseInt(flags, 16) & LISTENING) !== 0 ? [[inode, path]] : [],
    ),
  )
}

/** A daemon beside us may live in a network namespace of its own; each is read once. */
function otherNamespaces(names: ReadonlySet<string>): ReadonlyMap<string, string> {
  const seen = new Set([namespaceOf('self')])
  const found = allPids().flatMap((pid) => {
    const namespace = namespaceOf(pid)
    if (namespace === undefined || seen.has(namespace)) return []
    seen.add(namespace)
    return [...listeners(pid, names)]
  })
  return new Map(found)
}

/**
 * Processes with such a socket open whose path leads to the very file that we would connect to: another root may hold
 * another daemon
 * on a path of the same name.
 */
async function holdersOf(
  socket: string,
  bound: ReadonlyMap<string, string>,
  found: FoundHolders,
): Promise<readonly number[]> {
  const file = fileOf(socket)
  if (bound.size === 0 || file === undefined) return []
  const isHolder = (pid: number) => {
    const paths = socketsOf(pid).flatMap((inode) => bound.get(inode) ?? [])
    // By each name, as an absolute link such as /var/run would lead from there into our own root.
    return paths.flatMap(aliases).some((path) => fileOf(`/proc/${pid}/root${path}`) === file)
  }
  const key = JSON.stringify([file, ...bound])
  const before = found.get(socket)
  if (before?.key === key && performance.now() - before.at < BELIEVED_MS) {
    const pids = [...before.starts.keys()]
    if (pids.every((pid) => startTicksOf(pid) === before.starts.get(pid) && isHolder(pid))) return pids
  }
  found.delete(socket)
  const at = performance.now()
  const holders: number[] = []
  for (const pid of allPids()) {
    // A busy node has thousands of descriptors: let the rest of the agent run.
    await setImmediate()
    if (isHolder(pid)) holders.push(pid)
  }
  const starts = new Map(holders.map((pid) => [pid, startTicksOf(pid)]))
  // While systemd alone holds it, the daemon that it is handed to is still to come.
  if (holders.some((pid) => pid !== 1)) found.set(socket, { key, starts, at })
  return holders
}

/**
 * Who held a socket, by its path. Going through the descriptors of every process takes as long as all else of a look.
 * The same listening socket comes into other hands by a fork alone, and a fork is no daemon of its own.
 */
type FoundHolders = Map<
  string,
  {
    /** The file, and the sockets that are bound to it. */
    readonly key: string
    readonly starts: ReadonlyMap<number, number | undefined>
    /** Monotonic. */
    readonly at: number
  }
>

/** Also a descriptor may be handed over, by systemd or by a message: that is seen after this time at the latest. */
const BELIEVED_MS = 60_000

function startTicksOf(pid: number): number | undefined {
  return statFields(pid)?.startTicks
}

function socketsOf(pid: number): readonly string[] {
  const folder = `/proc/${pid}/fd`
  try {
    const links = readdirSync(folder).map((descriptor) => readLink(`${folder}/${descriptor}`) ?? '')
    return links.flatMap((link) => /^socket:\[(\d+)\]$/.exec(link)?.[1] ?? [])
  } catch {
    // Ended meanwhile, or not ours to look at.
    return []
  }
}

function fileOf(path: string): string | undefined {
  try {
    const { dev, ino } = statSync(path)
    return `${dev}:${ino}`
  } catch {
    return undefined
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
    startedAt: startOf(stat),
    ...(unit === undefined ? {} : { unit }),
  }
}

/**
 * A package upgrade renames a new file over the running one: the link then ends in ` (deleted)`, or the path is another
 * file.
 */
function executableOf(pid: number, link: string): { readonly executable: string; readonly replaced: boolean } {
  const executable = link.replace(/ \(deleted\)$/, '')
  if (executable !== link) return { executable, replaced: true }
  const [running, onDisk] = [fileOf(`/proc/${pid}/exe`), fileOf(`/proc/${pid}/root${executable}`)]
  return { executable, replaced: running !== undefined && onDisk !== undefined && running !== onDisk }
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

/** A child that the daemon has forked and that has not executed its program yet still looks like the daemon itself. */
function withoutForks(daemons: readonly ProcessInfo[]): readonly ProcessInfo[] {
  if (daemons.length < 2) return daemons
  const isParent = (pid: number, executable: string) =>
    daemons.some((other) => other.pid === pid && other.executable === executable)
  return daemons.filter(({ pid, executable }) => !isParent(statFields(pid)?.parent ?? 0, executable))
}

function isShim(executable: string): boolean {
  return basename(executable).startsWith('containerd-shim')
}

/** The name in field 2 may hold spaces and brackets: the other fields begin after the last bracket. */
function statFields(
  pid: number,
): { readonly state: string; readonly parent: number; readonly startTicks: number } | undefined {
  const stat = readProc(`${pid}/stat`)
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const [state, parent, startTicks] = [fields[0], fields[1], fields[19]]
  if (state === undefined || startTicks === undefined) return undefined
  return { state, parent: Number(parent), startTicks: Number(startTicks) }
}

function startOf({ startTicks }: { readonly startTicks: number }): number {
  return bootedAt() + (startTicks * 1000) / TICKS_PER_SECOND
}

/** Twice the resolution of /proc/uptime. */
const SAME_BOOT_MS = 20

let lastBoot = Number.NaN

/**
 * Milliseconds since the epoch by the wall clock of now. The same number each time, as long as nobody sets the clock:
 * a start that moves by some milliseconds from look to look would be another process each time.
 */
function bootedAt(): number {
  const boot = Date.now() - uptimeMs()
  if (!(Math.abs(boot - lastBoot) <= SAME_BOOT_MS)) lastBoot = boot
  return lastBoot
}

/** In hundredths of a second, where the boot time of /proc/stat comes in whole ones. */
function uptimeMs(): number {
  return Number(readProc('uptime').split(' ')[0]) * 1000
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
