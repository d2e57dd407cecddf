// What a program and everything it starts changed in the file system, told by the kernel: strace follows every process, and each call that
// makes, changes or removes something is resolved to the path it meant. A call that can not be resolved counts, as itself: nothing is overlooked.
import { readFileSync } from 'node:fs'
import { posix } from 'node:path'

const CHANGING = [
  ['open', 'openat', 'openat2', 'creat', 'truncate', 'rename', 'renameat', 'renameat2', 'link', 'linkat'],
  ['symlink', 'symlinkat', 'unlink', 'unlinkat', 'mkdir', 'mkdirat', 'rmdir', 'mknod', 'mknodat', 'bind'],
  ['chmod', 'fchmod', 'fchmodat', 'fchmodat2', 'chown', 'fchown', 'lchown', 'fchownat'],
  ['utime', 'utimes', 'utimensat', 'futimesat', 'setxattr', 'lsetxattr', 'fsetxattr'],
  ['removexattr', 'lremovexattr', 'fremovexattr', 'mount', 'umount2', 'move_mount', 'pivot_root', 'chroot'],
  ['io_uring_setup', 'open_by_handle_at'],
].flat()
/** What is needed to know whose descriptors and whose folder a path starts from. */
const CONTEXT = ['clone', 'clone3', 'fork', 'vfork', 'chdir', 'fchdir', 'execve']

/** `?`: no error where this machine's kernel does not have the call. */
export function traced(log: string, argv: readonly string[]): readonly string[] {
  const calls = [...CHANGING, ...CONTEXT].map((call) => `?${call}`).join(',')
  // The tracer stands aside (-D), so that the program itself is the child that gets the signals.
  return [
    'strace',
    '-D',
    '-f',
    '-y',
    '--seccomp-bpf',
    '-s',
    '4096',
    '-e',
    `trace=${calls}`,
    '-e',
    'signal=none',
    '-o',
    log,
    ...argv,
  ]
}

/** With what arguments and environment every program was started. */
export function tracedPrograms(log: string, argv: readonly string[]): readonly string[] {
  const whole = ['-v', '-s', '65536', '-e', 'trace=execve,execveat', '-e', 'signal=none']
  return ['strace', '-D', '-f', '--seccomp-bpf', ...whole, '-o', log, ...argv]
}

export type Write = { readonly call: string; readonly path: string; readonly line: string }

type Process = { cwd: string; readonly descriptors: Map<string, string> }

/** Every call that changed something or was about to, also one that failed for what was in its way. */
export function writesIn(log: string): readonly Write[] {
  const processes = new Map<string, Process>()
  const unfinished = new Map<string, string>()
  const processOf = (thread: string): Process => {
    const known = processes.get(thread)
    if (known !== undefined) return known
    const fresh = { cwd: '/', descriptors: new Map<string, string>() }
    processes.set(thread, fresh)
    return fresh
  }
  const writes: Write[] = []
  for (const raw of readFileSync(log, 'utf8').split('\n')) {
    const [, thread = '', text = ''] = /^(\d+) +(.*)$/.exec(raw) ?? []
    if (text.endsWith('<unfinished ...>')) {
      unfinished.set(thread, text.slice(0, -'<unfinished ...>'.length).trimEnd())
      continue
    }
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(text)
    const line = resumed === null ? text : `${unfinished.get(thread) ?? ''}${resumed[1]}`
    const [, call = '', rest = ''] = /^(\w+)\((.*)$/.exec(line) ?? []
    const process = processOf(thread)
    if (CONTEXT.includes(call)) follow(call, rest, process, processes)
    else if (call !== '') writes.push(...changes(call, rest, process).map((path) => ({ call, path, line })))
  }
  return writes
}

function follow(call: string, rest: string, process: Process, processes: Map<string, Process>): void {
  const result = /\) = (-?\d+)/.exec(rest)?.[1]
  if (result === undefined || result.startsWith('-')) return
  if (call === 'chdir') process.cwd = absolute(texts(rest)[0] ?? '', process)
  if (call === 'fchdir') process.cwd = /^\d+<(.*?)>/.exec(rest)?.[1] ?? '?'
  if (!/^(clone3?|v?fork)$/.test(call)) return
  // Threads share everything; a child starts with a copy.
  const child = rest.includes('CLONE_THREAD')
    ? process
    : { cwd: process.cwd, descriptors: new Map(process.descriptors) }
  const early = processes.get(result)
  // The child may have been seen before the call that made it came back.
  if (early !== undefined && child !== process)
    for (const [fd, path] of early.descriptors) child.descriptors.set(fd, path)
  processes.set(result, child)
}

function changes(call: string, rest: string, process: Process): readonly string[] {
  if (/^(open|openat|openat2|creat)$/.test(call)) {
    const opened = /\) = (\d+)<(.*)>$/.exec(rest)
    if (opened !== null) process.descriptors.set(opened[1] ?? '', (opened[2] ?? '').replace(/ \(deleted\)$/, ''))
    const forWriting = call === 'creat' || /O_(WRONLY|RDWR|CREAT|TRUNC|TMPFILE|APPEND)\b/.test(rest)
    if (!forWriting) return []
    return [opened?.[2] ?? pathOf(rest, process)]
  }
  // The first word is a descriptor, with its path behind it.
  if (/^(fchmod|fchown|fsetxattr|fremovexattr)$/.test(call)) return [/^\d+<(.*?)>/.exec(rest)?.[1] ?? `? ${call}`]
  if (call === 'bind') {
    const socket = /sun_path="([^"]*)"/.exec(rest)?.[1]
    return socket === undefined ? [] : [absolute(socket, process)]
  }
  // libuv sends the changes of its epoll through a ring; only one that the kernel polls (SQPOLL) would carry file calls past the tracer.
  if (call === 'io_uring_setup') return /SQPOLL/.test(rest.replace(/features=\S+/, '')) ? [`? ${call}`] : []
  if (call === 'open_by_handle_at') return [`? ${call}`]
  if (/^(rename|link)/.test(call)) return pathsOf(rest, process)
  if (call === 'mount' || call === 'move_mount') return [pathsOf(rest, process).at(1) ?? `? ${call}`]
  if (/^symlink/.test(call)) return [pathsOf(rest.replace(/^"[^"]*", /, ''), process)[0] ?? `? ${call}`]
  return [pathOf(rest, process) || `? ${call}`]
}

function pathOf(rest: string, process: Process): string {
  return pathsOf(rest, process)[0] ?? '?'
}

/** Every path among the arguments: a text, from the descriptor in front of it where there is one. */
function pathsOf(rest: string, process: Process): readonly string[] {
  return [...rest.matchAll(/(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"/g)].map(([, folder, text = '']) =>
    absolute(text, folder === undefined ? process : { ...process, cwd: folder }),
  )
}

function texts(rest: string): readonly string[] {
  return [...rest.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, text = '']) => text)
}

/** The agent reaches everything below its root through open folders: `/proc/self/fd/23/name`. */
function absolute(path: string, process: Process): string {
  const [, descriptor, below = ''] = /^\/proc\/self\/fd\/(\d+)(\/.*)?$/.exec(path) ?? []
  if (descriptor !== undefined) return posix.normalize(`${process.descriptors.get(descriptor) ?? '?'}${below}`)
  return posix.resolve(process.cwd, path)
}
