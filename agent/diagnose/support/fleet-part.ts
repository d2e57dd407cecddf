// Objects of the cluster for a support bundle. Each field is named here: an object as it is may hold logins in variables,
// annotations and commands. Pure.

type Item = { readonly [key: string]: unknown }

/** @param list a PodList of the API server */
export function podFacts(list: unknown): readonly object[] {
  return itemsOf(list).map((pod) => ({
    name: at(pod, 'metadata', 'name'),
    node: at(pod, 'spec', 'nodeName'),
    phase: at(pod, 'status', 'phase'),
    reason: at(pod, 'status', 'reason'),
    startedAt: at(pod, 'status', 'startTime'),
    containers: listAt(pod, 'status', 'containerStatuses').map((container) => ({
      name: container['name'],
      image: container['image'],
      imageID: container['imageID'],
      ready: container['ready'],
      restarts: container['restartCount'],
      waits: at(container, 'state', 'waiting', 'reason'),
      lastEnd: at(container, 'lastState', 'terminated', 'reason'),
      lastExitCode: at(container, 'lastState', 'terminated', 'exitCode'),
    })),
  }))
}

/** @param list a DaemonSetList of the API server */
export function daemonSetFacts(list: unknown): readonly object[] {
  return itemsOf(list).map((set) => ({
    name: at(set, 'metadata', 'name'),
    images: listAt(set, 'spec', 'template', 'spec', 'containers').map(({ name, image }) => ({ name, image })),
    ...Object.fromEntries(COUNTS.map((count) => [count, at(set, 'status', count)])),
  }))
}

const COUNTS = [
  'desiredNumberScheduled',
  'currentNumberScheduled',
  'updatedNumberScheduled',
  'numberReady',
  'numberUnavailable',
  'numberMisscheduled',
]

/** @param list an EventList of the API server; the newest come last */
export function eventFacts(list: unknown): readonly object[] {
  const events = itemsOf(list).map((event) => ({
    at: at(event, 'lastTimestamp') ?? at(event, 'eventTime') ?? at(event, 'metadata', 'creationTimestamp'),
    type: event['type'],
    reason: event['reason'],
    message: event['message'],
    about: `${String(at(event, 'involvedObject', 'kind'))} ${String(at(event, 'involvedObject', 'name'))}`,
    count: event['count'],
  }))
  return events.toSorted((one, other) => String(one.at).localeCompare(String(other.at)))
}

function itemsOf(list: unknown): readonly Item[] {
  return listAt(list, 'items')
}

function listAt(value: unknown, ...path: readonly string[]): readonly Item[] {
  const found = at(value, ...path)
  return Array.isArray(found) ? found.filter((item) => typeof item === 'object' && item !== null) : []
}

function at(value: unknown, ...path: readonly string[]): unknown {
  let place = value
  for (const key of path) place = typeof place === 'object' && place !== null ? (place as Item)[key] : undefined
  return place
}
