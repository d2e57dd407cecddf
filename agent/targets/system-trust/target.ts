// The node's own trust store, in whichever of its forms this distribution keeps it.
// This room: the node's own trust store, of each family of distributions.
// Begin here; then debian.ts (Debian, Ubuntu, plain), families.ts (RHEL, SUSE, Photon), distrust.ts (taken out).
// May touch: /etc/ssl/certs, the folder of local sources, and the bundle made of them.
import { type DesiredState, systemAnchors } from '../../model/desired-state.ts'
import { problem } from '../../model/errors.ts'
import type { Need, Target, TargetInput, TargetPlan } from '../../model/target.ts'
import { FULL } from '../files/profiles.ts'
import { planSystemTrust } from './debian.ts'
import {
  LOCAL_ANCHORS,
  type ObservedSystemTrust,
  observeSystemTrust,
  ownedPaths,
  SYSTEM_CERTS,
} from './debian-observe.ts'
import { CONF, SHIPPED } from './distrust-observe.ts'
import { planAnchorStore } from './families.ts'
import { type ObservedAnchorStore, observeAnchorStore } from './families-observe.ts'

type ObservedStores = {
  /** Undefined where sources have a folder of their own: /etc/ssl/certs is then a link to what is made of them. */
  readonly certs: ObservedSystemTrust | undefined
  readonly store: ObservedAnchorStore
}

export const SYSTEM_TRUST: Target<ObservedStores> = {
  names: ['system-trust'],
  servesHosts: [],
  isReadByContainerd: false,
  async observe(input, { files, store: state }) {
    const store = await observeAnchorStore(input, files, (digest) => state.backup(digest))
    const certs = store.family?.sources === undefined ? await observeSystemTrust(input, files) : undefined
    return { certs, store }
  },
  plan(input, { certs, store }) {
    const unread = planUnread(input, store)
    if (unread !== undefined) return unread
    const plans = [...(certs === undefined ? [] : [planSystemTrust(input, certs)]), planAnchorStore(input, store)]
    const distrusts = plans.flatMap((plan) => plan.distrusts ?? [])
    return {
      changes: plans.flatMap(({ changes }) => changes),
      problems: plans.flatMap(({ problems }) => problems),
      ...(distrusts.length > 0 && { distrusts }),
    }
  },
  watches: () => [SYSTEM_CERTS, LOCAL_ANCHORS].map((path) => ({ path, depth: 0 })),
  needs: needsOfStore,
}

/**
 * The store of this node is not mounted: files in /etc/ssl/certs would be written, and read by few programs. What an
 * earlier version put there is kept up until the store is seen.
 */
function planUnread(input: TargetInput, { unseen }: ObservedAnchorStore): TargetPlan | undefined {
  const { enabled } = input.desired.targets.systemTrust
  const isWanted = enabled === 'on' || (enabled === 'auto' && systemAnchors(input.desired).length > 0)
  if (unseen === undefined || !isWanted || ownedPaths(input.owned).length > 0) return undefined
  const { name, folders } = unseen
  const text = `the system store of this node is not written: ${folders.join(' and ')} ${folders.length === 1 ? 'is' : 'are'} not mounted into this Pod, and few programs read ${SYSTEM_CERTS} itself; add daemonset/components/${name}, or the chart's value operatingSystem: ${name}`
  const found = problem('TARGET_NOT_MOUNTED', text)
  return enabled === 'on' ? { changes: [], problems: [found] } : { changes: [], problems: [], warnings: [found] }
}

function needsOfStore({ desired }: Parameters<Target['needs']>[0]): readonly Need[] {
  const { enabled } = desired.targets.systemTrust
  if (enabled === 'off' || desired.mode !== 'enforce') return []
  return [...needsOfAnchors(desired), ...needsOfDistrust(desired)]
}

function needsOfDistrust({ distrust }: DesiredState): readonly Need[] {
  if (distrust === undefined) return []
  const remedy = `Add daemonset/components/distrust, or the chart's value distrust: the lists lie below /etc (${CONF}).`
  return [
    { path: '/etc', access: 'write', why: 'distrust', remedy, severity: 'info' },
    { path: SHIPPED, access: 'read', why: 'distrust', remedy, severity: 'info' },
  ]
}

function needsOfAnchors(desired: DesiredState): readonly Need[] {
  const { enabled } = desired.targets.systemTrust
  if (systemAnchors(desired).length === 0) return []
  return [SYSTEM_CERTS, LOCAL_ANCHORS].map((path) => ({
    path,
    access: 'write',
    why: 'targets.systemTrust',
    remedy: `${FULL}, or set targets.systemTrust.enabled to false: containerd does not need it. The components rhel, suse and photon mount the stores of these families instead.`,
    ...(enabled === 'auto' ? { severity: 'info' } : {}),
  }))
}
