// What /etc/crictl.yaml is now.
import { CRICTL_FILE } from '../../containerd/crictl.ts'
import type { FileState, NodeFiles } from '../../model/ports.ts'
import { readSettledText } from '../files/observe.ts'

const FOLDER = '/etc'

export type ObservedCrictl = {
  /** Where this node's CRI answers; undefined where the agent does not know it. */
  readonly socket: string | undefined
  readonly file: FileState
  readonly isWritable: boolean
}

export async function observeCrictl(socket: string | undefined, files: NodeFiles): Promise<ObservedCrictl> {
  return { socket, file: await readSettledText(CRICTL_FILE, files), isWritable: await files.isWritable(FOLDER) }
}
