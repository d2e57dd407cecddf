// Access lists, extended attributes and security labels of a file that is replaced. Node has no call for them, so cp of
// GNU coreutils copies them: the agent's own, or the node's with the node's loader. The rule: what could not be copied is
// said, and is no reason to leave the content unwritten.
import { type ChildProcess, spawn } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path/posix'

/** Copying them takes 2 ms; a file system that does not answer must not hold the agent. */
const TIMEOUT_MS = 5_000
/** From the kill to the end. */
const END_MS = 1_000
/** From the end to the end of what it wrote: never where somebody else holds its standard error. */
const LAST_WORDS_MS = 200
const MAX_OUTPUT = 2_000
/** Descriptors of the child: the names of both files may come to mean others meanwhile. */
const [ORIGINAL, STAGED] = ['/proc/self/fd/3', '/proc/self/fd/4']
// xattr covers security.selinux and what else a file system keeps; mode covers the POSIX access list.
const ARGS = ['--attributes-only', '--preserve=mode,xattr', '--', ORIGINAL, STAGED]

const OWN_CP = ['/usr/bin/cp', '/bin/cp']
const NODE_CP = ['usr/bin/cp', 'bin/cp']
const LOADERS: { readonly [architecture: string]: { readonly name: string; readonly folder: string } } = {
  x64: { name: 'ld-linux-x86-64.so.2', folder: 'usr/lib/x86_64-linux-gnu' },
  arm64: { name: 'ld-linux-aarch64.so.1', folder: 'usr/lib/aarch64-linux-gnu' },
}

/** Gives `staged` the attributes of `original`; returns why that failed, undefined where it did not. Never throws. */
export type AttributeCopier = (original: string, staged: FileHandle) => Promise<string | undefined>

/** `root` is the node's file system in the agent's view; `own` are the places of the agent's own cp. */
export function attributeCopier({
  root,
  own = OWN_CP,
}: {
  readonly root: string
  readonly own?: readonly string[]
}): AttributeCopier {
  return async (original, staged) => {
    const command = copyCommand(root, own)
    if (command === undefined) return 'there is no cp here or on the node'
    let from: FileHandle | undefined
    try {
      from = await open(original, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
      return await run(command, [from.fd, staged.fd])
    } catch (error) {
      return error instanceof Error ? error.message : String(error)
    } finally {
      await from?.close()
    }
  }
}

function copyCommand(root: string, own: readonly string[]): readonly string[] | undefined {
  const mine = own.find(isExecutable)
  if (mine !== undefined) return [mine]
  const nodes = NODE_CP.map((path) => join(root, path)).find(isExecutable)
  const loader = LOADERS[process.arch]
  if (nodes === undefined || loader === undefined) return undefined
  // The node's libraries with the node's loader: those of the image may be older than its cp wants.
  const folders = [loader.folder, 'usr/lib64', 'usr/lib'].map((path) => join(root, path))
  const found = folders.map((folder) => join(folder, loader.name)).find(isExecutable)
  return found === undefined ? undefined : [found, '--library-path', folders.join(':'), nodes]
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

async function run(command: readonly string[], [from, to]: readonly [number, number]): Promise<string | undefined> {
  const [program = '', ...args] = [...command, ...ARGS]
  const child = spawn(program, args, { env: { LC_ALL: 'C' }, stdio: ['ignore', 'ignore', 'pipe', from, to] })
  const late = Promise.withResolvers<never>()
  let timer = setTimeout(() => {
    child.kill('SIGKILL')
    // Not before the kernel lets it: a file system that does not answer may hold it for good.
    timer = setTimeout(() => late.reject(new Error('cp cannot be ended: the file system does not answer')), END_MS)
  }, TIMEOUT_MS)
  try {
    const { code, signal, output } = await Promise.race([ended(child), late.promise])
    if (code === 0) return undefined
    const said = output.trim().split('\n')[0]?.replaceAll(ORIGINAL, 'it').replaceAll(STAGED, 'the new file')
    return said || (signal === null ? `cp ended with ${code}` : `cp was ended by ${signal}`)
  } finally {
    clearTimeout(timer)
    child.stderr?.destroy()
  }
}

type Ended = { readonly code: number | null; readonly signal: NodeJS.Signals | null; readonly output: string }

function ended(child: ChildProcess): Promise<Ended> {
  const { promise, resolve, reject } = Promise.withResolvers<Ended>()
  let output = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    output = `${output}${text}`.slice(0, MAX_OUTPUT)
  })
  child.once('error', reject)
  child.once('exit', (code, signal) => {
    const told = () => resolve({ code, signal, output })
    const late = setTimeout(told, LAST_WORDS_MS)
    child.once('close', told).once('close', () => clearTimeout(late))
  })
  return promise
}
