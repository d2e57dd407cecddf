// Turns what a file call threw into an AgentError that names the path on the node, what was tried and the kernel's
// reason.
import { getSystemErrorMessage } from 'node:util'
import { AgentError, type ErrorCode } from '../../model/errors.ts'

const CODES: { readonly [errno: string]: ErrorCode } = {
  EROFS: 'TARGET_READ_ONLY',
  EACCES: 'TARGET_READ_ONLY',
  ENOSPC: 'NO_SPACE',
  EDQUOT: 'NO_SPACE',
}

const HINTS: { readonly [errno: string]: string } = {
  EPERM: 'is the immutable attribute set, or is the folder sticky and owned by another user?',
  EXDEV: 'another mount begins below the folder',
  EBUSY: 'the path itself is a mount point: mount its folder instead',
  ENOENT: 'a parent folder is missing, or the mounted folder was replaced on the node',
}

/** `doing` reads like "write /etc/containerd/config.toml". */
export function writeFailure(doing: string, thrown: unknown): AgentError {
  if (thrown instanceof AgentError) return thrown
  const { errno, text } = reasonOf(thrown)
  const hint = HINTS[errno]
  const message = `cannot ${doing}: ${text}${hint === undefined ? '' : ` (${hint})`}`
  return new AgentError(CODES[errno] ?? 'WRITE_FAILED', message, { errno }, { cause: thrown })
}

/** The kernel's words without the path of the call, which would show a descriptor and not the path on the node. */
export function reasonOf(thrown: unknown): { readonly errno: string; readonly text: string } {
  if (!(thrown instanceof Error)) return { errno: '', text: String(thrown) }
  const errno = 'code' in thrown && typeof thrown.code === 'string' ? thrown.code : ''
  if ('errno' in thrown && typeof thrown.errno === 'number') {
    return { errno, text: `${getSystemErrorMessage(thrown.errno) ?? thrown.message} (${errno})` }
  }
  return { errno, text: errno === '' ? thrown.message : `${thrown.message} (${errno})` }
}
