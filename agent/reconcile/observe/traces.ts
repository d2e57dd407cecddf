// Files that carry the agent's name or mark beside host directories. Nothing tells what stood there before, so without
// a memory they are not taken for the agent's own: they are named, for a person to decide.
import { posix } from 'node:path'
import type { ContainerdFacts } from '../../model/observed-state.ts'
import type { FileState, NodeFiles } from '../../model/ports.ts'

const K3S_FOLDERS = ['/etc/rancher/k3s', '/etc/rancher/rke2']
const OWN_FOLDER = 'registry-trust'
const CERTS_TREES = ['/etc/docker/certs.d', '/etc/containers/certs.d']
const BESIDE_FOREIGN = 'registry-trust.crt'
const MARKED = [
  '/etc/hosts',
  '/etc/crictl.yaml',
  '/etc/containers/registries.conf.d/50-registry-trust.conf',
  '/etc/pki/tls/certs/ca-bundle.crt',
  ...K3S_FOLDERS.map((folder) => `${folder}/registries.yaml`),
]
const MARK =
  /^# (?:Managed by )?registry-trust(?:-agent)?\b|[ \t]# registry-trust-agent[ \t]*\r?$|\/registry-trust\/[^/\s"']+\/ca\.crt/m

/** Paths on the node, sorted. */
export async function tracesOn(
  { configFile }: Pick<ContainerdFacts, 'configFile'>,
  files: NodeFiles,
): Promise<readonly string[]> {
  const marked = await Promise.all(
    [...MARKED, configFile].map(async (path) => (isMarked(await files.read(path)) ? [path] : [])),
  )
  const own = [posix.dirname(configFile), ...K3S_FOLDERS].map((folder) => `${folder}/${OWN_FOLDER}`)
  const inOwn = await Promise.all(own.map((folder) => filesOf(folder, files, () => true)))
  const beside = await Promise.all(
    CERTS_TREES.map((folder) => filesOf(folder, files, (name) => name === BESIDE_FOREIGN)),
  )
  return [...marked, ...inOwn, ...beside].flat().sort()
}

function isMarked(state: FileState): boolean {
  return state.kind === 'file' && MARK.test(state.bytes.toString('latin1'))
}

async function filesOf(
  folder: string,
  files: NodeFiles,
  isMeant: (name: string) => boolean,
): Promise<readonly string[]> {
  if ((await files.read(folder)).kind !== 'folder') return []
  const hosts = (await files.list(folder)).map((host) => `${folder}/${host}`)
  const found = await Promise.all(
    hosts.map(async (host) =>
      (await files.read(host)).kind === 'folder'
        ? (await files.list(host)).filter(isMeant).map((name) => `${host}/${name}`)
        : [],
    ),
  )
  return found.flat()
}
