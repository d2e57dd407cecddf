// The host directories as containerd will find them, for the rehearsal.
import { posix } from 'node:path'
import type { MovedFolder } from '../../containerd/edit/migrate-legacy.ts'
import { hostDirectoryName } from '../../containerd/hosts/hosts-toml.ts'
import { type DesiredState, withWildcard } from '../../model/desired-state.ts'
import type { Candidate, Change } from '../../model/plan.ts'
import { renderString } from '../../text/toml.ts'
import type { ObservedHosts } from '../containerd-hosts/observe.ts'
import type { ObservedK3s } from '../k3s/observe.ts'
import { type K3sPlan, plannedCa } from '../k3s/plan.ts'

type StagedHosts = Candidate['stagedHosts']

export function stageHosts(
  desired: DesiredState,
  moved: readonly MovedFolder[],
  observed: ObservedHosts,
  changes: readonly Change[],
): StagedHosts {
  const declared = withWildcard(desired).map(({ host }) => hostDirectoryName(host, observed.names))
  const names = new Set([...declared, ...moved.map(({ name }) => name)])
  // A whole folder is a change of its own path, everything else one of the folder that it lies in.
  const byFolder = Map.groupBy(changes, ({ path, after }) => (after.kind === 'tree' ? path : posix.dirname(path)))
  return [...names].flatMap((name) => {
    const folder = `${observed.certsDirectory}/${name}`
    const files = new Map<string, Buffer>()
    for (const [file, state] of observed.folders.get(folder)?.files ?? [])
      if (state.kind === 'file') files.set(file, state.bytes)
    for (const { path, after } of byFolder.get(folder) ?? []) {
      if (after.kind === 'tree') for (const one of after.files) files.set(one.name, one.content.bytes)
      if (after.kind === 'file') files.set(posix.basename(path), after.bytes)
      if (after.kind === 'absent') files.delete(posix.basename(path))
    }
    return [...files].map(([file, bytes]) => ({ path: `${name}/${file}`, bytes }))
  })
}

/** hosts.toml of k3s names our CA file by its place on the node, which the copy of containerd does not see. */
export function withCaOfDistribution(
  staged: StagedHosts,
  k3s: K3sPlan,
  observed: ObservedK3s | undefined,
): StagedHosts {
  return staged.flatMap(({ path, bytes }) => {
    const text = bytes.toString('utf8')
    const caFile = [...k3s.named.values()].find((one) => text.includes(renderString(one)))
    const ca = caFile === undefined ? undefined : plannedCa(k3s, observed, caFile)
    if (caFile === undefined || ca === undefined) return [{ path, bytes }]
    const beside = 'registry-trust-k3s.crt'
    const moved = text.replaceAll(renderString(caFile), renderString(beside))
    return [
      { path: `${posix.dirname(path)}/${beside}`, bytes: ca },
      { path, bytes: Buffer.from(moved) },
    ]
  })
}
