// `registry-trust support-bundle --all`: what a maintainer asks for about the fleet, from anywhere with a kubeconfig. It
// reads through the API server and changes nothing. What one node has written is in that node's own bundle.
import { fleetReader } from '../../cluster/fleet-reader.ts'
import { daemonSetFacts, eventFacts, podFacts } from '../../diagnose/support/fleet-part.ts'
import type { Wiring } from '../wiring.ts'
import { type Part, versionsOf, writeBundle } from './bundle-archive.ts'
import { everyNode, NAMESPACE } from './status-all.ts'

export async function supportBundleOfFleet(wiring: Wiring): Promise<number> {
  const { options, signal } = wiring
  const reader = fleetReader(options.kubeconfig, options.namespace ?? NAMESPACE)
  const parts: readonly Part[] = [
    {
      name: 'fleet.json',
      what: 'the roll-out, and each node as the fleet component sees it',
      make: () => everyNode(reader, signal),
    },
    {
      name: 'pods.json',
      what: 'Pods of the namespace: node, image, restarts, why they wait',
      make: async () => podFacts(await reader.list('api/v1', 'pods', signal)),
    },
    {
      name: 'daemonsets.json',
      what: 'images, and how far their own roll-out is',
      make: async () => daemonSetFacts(await reader.list('apis/apps/v1', 'daemonsets', signal)),
    },
    {
      name: 'events.json',
      what: 'Events of the namespace',
      make: async () => eventFacts(await reader.list('api/v1', 'events', signal)),
    },
    { name: 'versions.json', what: 'this program, Node.js, operating system, flags', make: () => versionsOf(wiring) },
  ]
  return await writeBundle(wiring, 'fleet', parts)
}
