// Reads what lies in a folder, and files that others write too.
import type { FileState, NodeFiles } from '../../model/ports.ts'

const LINE_FEED = 0x0a

/** By name, without what lies deeper. */
export async function filesIn(folder: string, files: NodeFiles): Promise<ReadonlyMap<string, FileState>> {
  return await readIn(folder, files, (path) => files.read(path))
}

/** The same, of a folder whose texts are edited although others write them too. */
export async function settledTextsIn(
  folder: string,
  files: NodeFiles,
  isText: (name: string) => boolean,
): Promise<ReadonlyMap<string, FileState>> {
  return await readIn(folder, files, (path, name) => (isText(name) ? readSettledText(path, files) : files.read(path)))
}

async function readIn(
  folder: string,
  files: NodeFiles,
  read: (path: string, name: string) => Promise<FileState>,
): Promise<ReadonlyMap<string, FileState>> {
  const found = new Map<string, FileState>()
  for (const name of await files.list(folder)) found.set(name, await read(`${folder}/${name}`, name))
  return found
}

// Files of the node that the agent edits have other writers too, and not all of them replace a file at once:
// `cat new >/etc/hosts` leaves it empty for a moment. A program that takes that for the file, and writes it again with
// a line of its own, loses all that the other one writes into the file that was replaced.

/** As `read`; a text that ends in the middle of a line is read again while it may still be being written. */
export function readSettledText(path: string, files: Pick<NodeFiles, 'readSettled'>): Promise<FileState> {
  return files.readSettled(path, isWholeText)
}

function isWholeText(bytes: Buffer): boolean {
  return bytes.at(-1) === LINE_FEED
}
