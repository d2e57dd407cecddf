// `status --all` as a person runs it. What stands for the API server answers the one path of its proxy of Services, as
// `kubectl proxy` does, over plain HTTP.
import { execFile, execFileSync, spawn } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { fleetReport } from '../../agent/fleet/report/report.ts'
import type { FleetPicture } from '../../agent/fleet/state/picture.ts'
import { DEFAULT_FLEET } from '../../agent/model/fleet.ts'
import { scratchFolder } from '../fixtures/cluster/kubernetes.ts'
import { lineOf, rollingOut, WELL } from '../fixtures/fleet/pictures.ts'

const PATH = '/api/v1/namespaces/registry-trust/services/registry-trust-fleet:http/proxy/fleet'
const PROGRAM = join(import.meta.dirname, '../../dist/registry-trust.cjs')

const CANARY = 'canary-5f1d2c9e8b7a'
const NAMESPACE = '/namespaces/registry-trust'
/** Objects with a secret wherever somebody may put one. */
const OBJECTS: { readonly [path: string]: object } = {
  [`/api/v1${NAMESPACE}/pods`]: {
    items: [
      {
        metadata: { name: 'agent-x', annotations: { note: CANARY }, labels: { key: CANARY } },
        spec: {
          nodeName: 'n1',
          containers: [{ name: 'agent', args: [CANARY], env: [{ name: 'TOKEN', value: CANARY }], command: [CANARY] }],
        },
        status: {
          phase: 'Running',
          message: CANARY,
          containerStatuses: [
            {
              ...{ name: 'agent', image: 'harbor.example.net/rt:1', ready: false, restartCount: 4 },
              state: { waiting: { reason: 'CrashLoopBackOff', message: CANARY } },
              lastState: { terminated: { reason: 'OOMKilled', exitCode: 137, message: CANARY } },
            },
          ],
        },
      },
    ],
  },
  [`/api/v1${NAMESPACE}/events`]: {
    items: [
      { type: 'Normal', reason: 'Later', message: 'm', lastTimestamp: '2026-01-02T00:00:00Z' },
      {
        ...{ type: 'Warning', reason: 'Failed', involvedObject: { kind: 'Pod', name: 'agent-x' }, count: 3 },
        message: `pull of https://user:${CANARY}@harbor.example.net failed, authorization: Bearer ${CANARY}`,
        lastTimestamp: '2026-01-01T00:00:00Z',
      },
    ],
  },
}

type Answer = FleetPicture | number

/** One that is a function is asked for each answer. */
async function proxy(t: Test, answers: Answer | (() => Answer)): Promise<string> {
  const server = createServer((request, response) => {
    const answer = typeof answers === 'function' ? answers() : answers
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://proxy')
    const objects = OBJECTS[pathname]
    if (objects !== undefined && typeof answer !== 'number') return void response.end(JSON.stringify(objects))
    if (pathname !== PATH || typeof answer === 'number')
      return void response.writeHead(typeof answer === 'number' ? answer : 404).end('{}')
    const [offset, limit] = ['offset', 'limit'].map((name) => Number(searchParams.get(name)))
    const query = { offset: offset ?? 0, limit: limit ?? 100 }
    response.end(JSON.stringify(fleetReport(answer, DEFAULT_FLEET.rollout, query)))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const cluster = { server: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
  const context = { cluster: 'c', user: 'u' }
  const config = {
    ...{ apiVersion: 'v1', kind: 'Config', 'current-context': 'x', clusters: [{ name: 'c', cluster }] },
    ...{ users: [{ name: 'u', user: {} }], contexts: [{ name: 'x', context }] },
  }
  const file = join(scratchFolder(t), 'kubeconfig')
  writeFileSync(file, JSON.stringify(config))
  return file
}

function statusAll(kubeconfig: string, ...flags: string[]) {
  return command(kubeconfig, 'status', '--all', ...flags)
}

function command(kubeconfig: string, ...words: string[]) {
  const env = { ...process.env, KUBECONFIG: kubeconfig }
  const { promise, resolve } = Promise.withResolvers<{ code: unknown; stdout: string; stderr: string }>()
  const options = { env, maxBuffer: 16 * 1024 * 1024 }
  execFile(process.execPath, [PROGRAM, ...words], options, (error, stdout, stderr) =>
    resolve({ code: error?.code ?? 0, stdout, stderr }),
  )
  return promise
}

t.test('a fleet that is well ends with 0, one that is not with 3; JSON holds every node of every page', async (t) => {
  const lines = [lineOf('n1', { ...WELL, node: 'n1' })]
  const well = await statusAll(await proxy(t, { ...rollingOut(0), lines }))
  t.match(well, { code: 0, stdout: /^The one node trusts every declared registry\.\n\nNODE {2}STATE/ })
  const kubeconfig = await proxy(t, rollingOut(2300))
  const [text, json] = await Promise.all([statusAll(kubeconfig), statusAll(kubeconfig, '--json')])
  t.match(text, { code: 3, stdout: /^46 of 2300 nodes are not healthy\.\n/ })
  t.equal(json.code, 3)
  t.equal((JSON.parse(json.stdout) as { nodes: unknown[] }).nodes.length, 2300)
})

t.test(
  'who may not ask, a component that is absent or not ready, and no API server end with 1 and say why',
  async (t) => {
    const [forbidden, absent, notReady] = await Promise.all(
      [403, 404, 503].map(async (status) => await statusAll(await proxy(t, status))),
    )
    t.match(forbidden, { code: 1, stderr: /verb get on services\/proxy "registry-trust-fleet:http" in namespace/ })
    t.match(absent, { code: 1, stderr: /the fleet component is not installed there/ })
    t.match(notReady, { code: 1, stderr: /no Pod of the fleet component is ready/ })
    const folder = t.testdir({ none: 'clusters: []' })
    t.match(await statusAll(join(folder, 'none')), { code: 1, stderr: /no current context with a cluster/ })
  },
)

/** Until it has written what matches, then as with Ctrl+C; everything that it wrote, and its exit code. */
async function watching(kubeconfig: string, isEnough: (stdout: string) => boolean, ...flags: string[]) {
  const env = { ...process.env, KUBECONFIG: kubeconfig }
  const child = spawn(process.execPath, [PROGRAM, 'status', '--all', '--watch', ...flags], { env })
  const { promise, resolve } = Promise.withResolvers<{ code: unknown; stdout: string; stderr: string }>()
  let [stdout, stderr] = ['', '']
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString()
    if (isEnough(stdout)) child.kill('SIGINT')
  })
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString()
  })
  child.on('exit', (code) => resolve({ code, stdout, stderr }))
  return await promise
}

t.test(
  '--watch writes what has changed, outlives a component that is away, and ends as the last picture',
  async (t) => {
    const well = { ...rollingOut(0), lines: [lineOf('n1', { ...WELL, node: 'n1' })] }
    const answers: readonly Answer[] = [rollingOut(20), rollingOut(20), 503, well]
    const next = () => {
      let turn = 0
      return () => answers[Math.min(turn++, answers.length - 1)] ?? 500
    }
    const isWell = (stdout: string) => stdout.includes('trusts every declared registry')
    const isJsonWell = (stdout: string) => stdout.trim().endsWith('"matching":1}')
    const [text, json, forbidden] = await Promise.all([
      watching(await proxy(t, next()), isWell),
      watching(await proxy(t, next()), isJsonWell, '--json'),
      watching(await proxy(t, 403), () => false),
    ])
    t.equal(text.code, 0, 'the last picture was of a fleet that is well')
    const [progress, away, last] = ['of 20', 'no Pod of the fleet component is ready', 'The one node trusts']
    t.equal(text.stdout.split(away).length, 2, text.stdout)
    t.ok(text.stdout.indexOf(progress) < text.stdout.indexOf(away))
    t.ok(text.stdout.indexOf(away) < text.stdout.indexOf(last))
    t.notMatch(text.stdout, '\u001b[H', 'nothing is drawn over where nobody looks at a terminal')
    t.equal(json.code, 0)
    t.equal((JSON.parse(json.stdout.split('\n')[0] ?? '') as { matching: number }).matching, 20)
    t.match(forbidden, { code: 1, stderr: /verb get on services\/proxy/ })
  },
)

t.test('support-bundle --all tells what it holds, then writes it; no secret of the cluster is in it', async (t) => {
  const folder = scratchFolder(t)
  const file = join(folder, 'fleet.tar.gz')
  const kubeconfig = await proxy(t, rollingOut(1200))
  const { code, stdout, stderr } = await command(kubeconfig, 'support-bundle', '--all', '--output', file)
  t.equal(code, 0, stderr)
  t.match(stdout, /^The archive holds, without secrets:\n {2}fleet\.json .*[\s\S]*written to .*fleet\.tar\.gz/)
  t.match(
    stdout,
    /daemonsets\.json .* not available: daemonsets of namespace registry-trust: the API server answered 404/,
  )
  execFileSync('tar', ['-xzf', file, '-C', folder, '--strip-components=1'])
  const read = (name: string) => readFileSync(join(folder, name), 'utf8')
  const names = ['fleet.json', 'pods.json', 'daemonsets.json', 'events.json', 'versions.json']
  t.same(
    readdirSync(folder)
      .filter((name) => name.endsWith('.json'))
      .toSorted(),
    names.toSorted(),
  )
  for (const name of names) t.notMatch(read(name), CANARY, name)
  t.equal((JSON.parse(read('fleet.json')) as { nodes: unknown[] }).nodes.length, 1200)
  t.match(JSON.parse(read('pods.json')), [
    {
      ...{ name: 'agent-x', node: 'n1', phase: 'Running' },
      containers: [{ restarts: 4, waits: 'CrashLoopBackOff', lastEnd: 'OOMKilled', lastExitCode: 137 }],
    },
  ])
  t.match(JSON.parse(read('events.json')), [{ reason: 'Failed', about: 'Pod agent-x' }, { reason: 'Later' }])
  t.equal((await command(kubeconfig, 'support-bundle', '--all', '--output', file)).code, 1, 'what is there stays')
  const own = await command(kubeconfig, 'support-bundle', '--namespace', 'x')
  t.match(own, { code: 64, stderr: /--namespace belongs to support-bundle --all/ })
})
