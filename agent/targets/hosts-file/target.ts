// The hosts file of the node: the addresses of registries whose names the node's resolver does not know.
// This room: lines of the agent in /etc/hosts, for the names of declared registries alone.
// Begin here; then plan.ts (which lines, and when none), ../../text/hosts-file.ts (the edit).
// May touch: its own lines in that file.
import type { Target } from '../../model/target.ts'
import { HOSTS_FILE } from '../../text/hosts-file.ts'
import { HOSTS_COMPONENT } from '../files/profiles.ts'
import { examineHostsFile } from './examine.ts'
import { type ObservedHostsFile, observeHostsFile } from './observe.ts'
import { planHostsFile } from './plan.ts'

export const HOSTS: Target<ObservedHostsFile> = {
  names: ['hosts-file'],
  servesHosts: [],
  isReadByContainerd: false,
  observe: (_input, { files }) => observeHostsFile(files),
  plan: planHostsFile,
  // Watched by itself where there is a line of the agent in it: daemon/watched-folders.ts.
  watches: () => [],
  needs: ({ desired: { registries, targets } }) =>
    targets.hostsFile.enabled === 'off' || registries.every(({ addresses }) => addresses === undefined)
      ? []
      : [{ path: HOSTS_FILE, access: 'write', why: '`addresses` of registries', remedy: `${HOSTS_COMPONENT}.` }],
  examine: ({ desired }, files) =>
    examineHostsFile(
      desired.targets.hostsFile.enabled !== 'off' &&
        desired.registries.some(({ addresses }) => addresses !== undefined),
      files,
    ),
}
