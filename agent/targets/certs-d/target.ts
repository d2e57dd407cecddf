// dockerd and the containers tools (CRI-O, podman, buildah, skopeo): each reads its own tree of host folders at each
// connection.
// This room: trees of host folders in Docker's way, for dockerd and the containers tools.
// Begin here; then tree.ts (which trees), observe.ts, plan.ts, removal.ts.
// May touch: /etc/docker/certs.d, /etc/containers/certs.d and one drop-in with mirrors.
import type { Need, Target } from '../../model/target.ts'
import { BUILDERS } from '../files/profiles.ts'
import { planMirrors } from './containers-mirrors.ts'
import { type ObservedTree, observeCertsTree } from './observe.ts'
import { type ObservedMirrors, observeMirrors } from './observe-mirrors.ts'
import { planCertsTree } from './plan.ts'
import { CONTAINERS, DOCKER, hostsFolderOf } from './tree.ts'

export const DOCKER_TARGET: Target<ObservedTree> = {
  names: ['docker'],
  servesHosts: ['docker'],
  isReadByContainerd: false,
  observe: (input, { files }) => observeCertsTree(DOCKER, input, files),
  plan: (input, seen) => planCertsTree(DOCKER, input, seen),
  watches: () => [{ path: hostsFolderOf(DOCKER), depth: 1 }],
  needs: (input) => needsOfTree('docker', input),
}

export const CONTAINERS_TARGET: Target<{ readonly tree: ObservedTree; readonly mirrors: ObservedMirrors }> = {
  names: ['containers'],
  servesHosts: ['containers'],
  isReadByContainerd: false,
  async observe(input, { files }) {
    return { tree: await observeCertsTree(CONTAINERS, input, files), mirrors: await observeMirrors(files) }
  },
  plan(input, seen) {
    const tree = planCertsTree(CONTAINERS, input, seen.tree)
    const { changes, problems, warnings = [] } = planMirrors(input, seen.mirrors)
    return { changes: [...tree.changes, ...changes], problems: [...tree.problems, ...problems], warnings }
  },
  watches: () => [{ path: hostsFolderOf(CONTAINERS), depth: 1 }],
  needs: (input) => needsOfTree('containers', input),
}

function needsOfTree(
  name: 'docker' | 'containers',
  { desired: { mode, targets } }: Parameters<Target['needs']>[0],
): readonly Need[] {
  if (targets[name].enabled !== 'on' || mode !== 'enforce') return []
  return [{ path: `/etc/${name}`, access: 'write', why: `targets.${name}`, remedy: `${BUILDERS}.` }]
}
