// Finds out what CRI-O is on this node: socket, version, and when it last read its registries.conf. Reads only.
import type { OtherRuntime } from '../../model/observed-state.ts'
import type { CriClient, NodeFiles, Processes, Systemd } from '../../model/ports.ts'
import { CRIO, CRIO_CONFIG, CRIO_DROP_INS, CRIO_UNIT, reloadsRegistries } from '../../targets/certs-d/crio.ts'

/** /var/run is a link to /run nearly everywhere: the same socket under two names. */
const CRIO_SOCKETS = ['/run/crio/crio.sock', '/var/run/crio/crio.sock'] as const

const CALL_MS = 5_000

export function isCrio(runtimeName: string): boolean {
  return runtimeName === CRIO
}

/** The socket of CRI-O; undefined where none is there. */
export async function findCrio(files: NodeFiles): Promise<string | undefined> {
  for (const socket of CRIO_SOCKETS) if ((await files.readFollowing(socket)).kind !== 'absent') return socket
  return undefined
}

/**
 * What a run needs to know of a CRI-O that answers at `socket`. Throws AgentError CRI_CALL_FAILED or another error of
 * the CRI client.
 */
export async function observeCrio(
  { socket, version }: Pick<OtherRuntime, 'socket' | 'version'>,
  cri: CriClient,
  ports: { readonly files: NodeFiles; readonly processes: Processes; readonly systemd: Systemd },
): Promise<OtherRuntime> {
  const [status, readAt, reloadsItself] = await Promise.all([
    cri.status({ timeoutMs: CALL_MS }),
    registriesReadAt(socket, ports),
    isReloadAutomatic(ports.files),
  ])
  return { name: CRIO, version, socket, status, reloadsItself, ...(readAt === undefined ? {} : { readAt }) }
}

/**
 * CRI-O reads registries.conf at its start and at each SIGHUP. It binds its socket at its start, which is seen in a Pod
 * too; a `systemctl reload` changes the unit's state.
 */
async function registriesReadAt(
  socket: string,
  { files, systemd }: { readonly files: NodeFiles; readonly systemd: Systemd },
): Promise<number | undefined> {
  const state = await files.readFollowing(socket)
  const boundAt = state.kind === 'other' ? state.mtimeMs : undefined
  const unit = (await systemd.isAvailable()) ? await systemd.unit(CRIO_UNIT).catch(() => undefined) : undefined
  const known = [boundAt, unit?.startedAt, unit?.changedAt].filter((time) => time !== undefined)
  return known.length === 0 ? undefined : Math.max(...known)
}

async function isReloadAutomatic(files: NodeFiles): Promise<boolean> {
  const names = await files.list(CRIO_DROP_INS).catch(() => [])
  const texts: string[] = []
  for (const path of [CRIO_CONFIG, ...names.map((name) => `${CRIO_DROP_INS}/${name}`)]) {
    const state = await files.readFollowing(path)
    if (state.kind === 'file') texts.push(state.bytes.toString('utf8'))
  }
  return reloadsRegistries(texts)
}
