// What the hosts file of the node is now.
import { posix } from 'node:path'
import type { FileState, NodeFiles } from '../../model/ports.ts'
import { HOSTS_FILE } from '../../text/hosts-file.ts'
import { readSettledText } from '../files/observe.ts'

export type ObservedHostsFile = {
  readonly file: FileState
  readonly isWritable: boolean
  /** False in a Pod that does not mount it: then it only looks absent. */
  readonly isSeen: boolean
}

export async function observeHostsFile(files: NodeFiles): Promise<ObservedHostsFile> {
  const file = await readSettledText(HOSTS_FILE, files)
  const isWritable = await (file.kind === 'file'
    ? files.isFileWritable(HOSTS_FILE)
    : files.isWritable(posix.dirname(HOSTS_FILE)))
  return { file, isWritable, isSeen: files.isSeen(HOSTS_FILE) }
}
