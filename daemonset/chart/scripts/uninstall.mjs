// The Job of `helm uninstall`: turns the DaemonSet into profile uninstall, waits until every node is clean, and names each node that is not.
// Then it ends with 1, helm stops, and the DaemonSet goes on trying.
// usage: uninstall.mjs DAEMONSET.json    environment: TIMEOUT_SECONDS, and what Kubernetes gives to every Pod
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

const { KUBERNETES_SERVICE_HOST: host = '', KUBERNETES_SERVICE_PORT: port = '443', TIMEOUT_SECONDS = '600' } = process.env
const ACCOUNT = process.env.SERVICE_ACCOUNT_FOLDER ?? '/var/run/secrets/kubernetes.io/serviceaccount'
const SERVER = `https://${host.includes(':') ? `[${host}]` : host}:${port}`
const ASK_EVERY_MS = 2_000

const cleaning = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8'))
const { name, namespace } = cleaning.metadata
const path = `/apis/apps/v1/namespaces/${namespace}/daemonsets/${name}`

async function request(method, where, body) {
  const answer = await fetch(`${SERVER}${where}`, {
    method,
    headers: {
      // Kubernetes changes the token while the Job runs.
      authorization: `Bearer ${readFileSync(`${ACCOUNT}/token`, 'utf8').trim()}`,
      'content-type': 'application/json',
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(10_000),
  })
  const told = await answer.json()
  return { status: answer.status, told, message: `${answer.status} ${told.message ?? ''}`.trim() }
}

/** Somebody else may write the object at the same time: then what is there now is read again. */
async function turnIntoUninstall() {
  for (let attempt = 1; ; attempt++) {
    const now = await request('GET', path)
    if (now.status === 404) return false
    if (now.status !== 200) throw new Error(`the DaemonSet ${namespace}/${name} cannot be read: ${now.message}`)
    const { template, updateStrategy } = cleaning.spec
    const written = await request('PUT', path, { ...now.told, spec: { ...now.told.spec, template, updateStrategy } })
    if (written.status === 200) return true
    if (written.status !== 409 || attempt === 5)
      throw new Error(`the DaemonSet ${namespace}/${name} cannot be changed: ${written.message}`)
  }
}

/** A Pod is Ready when its node is clean: the container that says so is started last. */
async function progress() {
  const { status, told, message } = await request('GET', path)
  if (status !== 200) throw new Error(`the DaemonSet ${namespace}/${name} cannot be read: ${message}`)
  const { observedGeneration = 0, desiredNumberScheduled = 0, updatedNumberScheduled = 0, numberReady = 0 } = told.status ?? {}
  const isCurrent = observedGeneration >= told.metadata.generation
  const clean = isCurrent ? Math.min(updatedNumberScheduled, numberReady) : 0
  return { clean, nodes: desiredNumberScheduled, isDone: isCurrent && clean >= desiredNumberScheduled }
}

async function namesOfUnclean() {
  const labels = Object.entries(cleaning.spec.selector.matchLabels).map(([key, value]) => `${key}=${value}`)
  const { status, told, message } = await request(
    'GET',
    `/api/v1/namespaces/${namespace}/pods?labelSelector=${encodeURIComponent(labels.join(','))}`,
  )
  if (status !== 200) return [`the Pods cannot be listed: ${message}`]
  return told.items.flatMap(({ metadata, spec, status: pod = {} }) => {
    const isClean = (pod.conditions ?? []).some(({ type, status: is }) => type === 'Ready' && is === 'True')
    const isUninstall = spec.containers.some(({ name: container }) => container === 'done')
    if (isClean && isUninstall) return []
    const step = (pod.initContainerStatuses ?? []).find(({ name: container }) => container === 'uninstall')
    const why = step?.lastState?.terminated?.message ?? step?.state?.waiting?.message ?? pod.phase ?? 'no Pod'
    return [`${spec.nodeName ?? '(no node)'}: Pod ${metadata.name}: ${why.trim()}`]
  })
}

try {
  if (!(await turnIntoUninstall())) {
    console.log(`there is no DaemonSet ${namespace}/${name}: nothing to clean`)
    process.exit(0)
  }
  const until = Date.now() + Number(TIMEOUT_SECONDS) * 1_000
  for (let last = ''; ; await sleep(ASK_EVERY_MS)) {
    const { clean, nodes, isDone } = await progress()
    const line = `${clean} of ${nodes} nodes are clean`
    if (line !== last) console.log(line)
    last = line
    if (isDone) process.exit(0)
    if (Date.now() < until) continue
    console.log(`after ${TIMEOUT_SECONDS} s these nodes are not clean, and the DaemonSet goes on trying:`)
    for (const unclean of await namesOfUnclean()) console.log(`  ${unclean}`)
    console.log(`their logs say why: kubectl -n ${namespace} logs POD -c uninstall. Then run helm uninstall again, or with --no-hooks to leave them so`)
    process.exit(1)
  }
} catch (error) {
  console.log(`${error.message}${error.cause === undefined ? '' : `: ${error.cause.message}`}`)
  process.exit(1)
}
