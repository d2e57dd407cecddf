// A thousand registries and five hundred anchors within the memory that the shipped manifest grants the agent, on a real
// containerd: with REGISTRY_TRUST_FULL=1, as it takes minutes.
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { hostOf, scaleTrustOf } from '../../scripts/benchmark/scale.ts'
import { scaleAnchors } from '../../scripts/benchmark/scale-config.ts'
import { HAS_MEMORY_CONTROLLER, MANIFEST_LIMIT_MIB, Subject } from '../../scripts/benchmark/subject.ts'
import { BUNDLE, newestToTest } from '../fixtures/e2e/agent-on-node.ts'

t.setTimeout(900_000)

const SIZE = { registries: 1_000, anchors: 500 }
const CERTS_D = '/etc/containerd/certs.d'
const PATIENCE_MS = 240_000
const STORM_EVENTS = 10_000

const isFull = process.env['REGISTRY_TRUST_FULL'] === '1'

/** Ten requests a second for the page and the metrics; how long /livez took at most. */
function visitors(subject: Subject) {
  const seen = { livez: 0, slowestLivezMs: 0, notAlive: 0, others: 0 }
  const ask = async (path: string) => {
    const since = performance.now()
    const answer = await subject.get(path)
    if (path === '/livez') {
      seen.livez += 1
      seen.slowestLivezMs = Math.max(seen.slowestLivezMs, performance.now() - since)
      if (answer?.status !== 200) seen.notAlive += 1
    } else if (answer?.status === 200) seen.others += 1
  }
  let turn = 0
  const paths = ['/', '/metrics', '/livez']
  const timer = setInterval(() => void ask(paths[turn++ % paths.length] ?? '/'), 100)
  return { seen, stop: () => clearInterval(timer) }
}

if (isFull && HAS_MEMORY_CONTROLLER)
  t.test('lives through install, rotation, drift and a storm within its limit, and stays alive', async (t) => {
    t.ok(MANIFEST_LIMIT_MIB > 0, 'the manifest has a limit')
    const subject = await Subject.start(newestToTest(), 'set', BUNDLE)
    t.teardown(() => subject.dispose())
    const { node, authority } = subject
    const until = async (isTrue: () => boolean | Promise<boolean>, what: string) => {
      for (const since = performance.now(); !(await isTrue()); await sleep(250))
        if (performance.now() - since > PATIENCE_MS) throw new Error(`not within ${PATIENCE_MS} ms: ${what}`)
    }
    const cgroup = (file: string) => readFileSync(node.path(`/sys/fs/cgroup/memory/agent/memory.${file}`), 'utf8')
    const alive = (when: string) => {
      t.match(cgroup('oom_control'), /^oom_kill 0$/m, `nothing was killed: ${when}`)
      t.comment(
        `${when}: at most ${Math.round(Number(cgroup('max_usage_in_bytes')) / 2 ** 20)} of ${MANIFEST_LIMIT_MIB} MiB`,
      )
    }

    const trust = await scaleTrustOf(subject, SIZE)
    await subject.publish({ registries: [] }, authority.pem)
    const daemon = await subject.startDaemonWithin(MANIFEST_LIMIT_MIB)
    void daemon.exited.then((code) => t.comment(`the agent ended: ${code}`))
    await until(() => subject.isReady(), 'ready without registries')
    const { seen, stop } = visitors(subject)
    t.teardown(stop)

    const lastCa = node.path(`${CERTS_D}/${hostOf(SIZE.registries - 1)}/ca.crt`)
    await subject.publish(trust, authority.pem)
    await until(() => existsSync(lastCa), 'the last registry is written')
    await until(async () => (await subject.state()) === 'converged', 'converged')
    alive('install')

    const [another = ''] = (await scaleAnchors(SIZE.anchors)).slice(-1)
    const name = `anchor-${(SIZE.registries - 1) % SIZE.anchors}`
    const rotated = { ...trust, anchors: { ...trust.anchors, [name]: { pem: another } } }
    await subject.publish(rotated, authority.pem)
    const body = another.trim().split('\n')[1] ?? another
    await until(() => readFileSync(lastCa, 'utf8').includes(body), 'the rotated anchor is written')
    await until(async () => (await subject.state()) === 'converged', 'converged after the rotation')
    alive('rotation')

    for (let index = 0; index < 50; index++) rmSync(node.path(`${CERTS_D}/${hostOf(index)}/ca.crt`))
    const isHealed = (index: number) => existsSync(node.path(`${CERTS_D}/${hostOf(index)}/ca.crt`))
    await until(() => Array.from({ length: 50 }, (_, index) => index).every(isHealed), 'fifty files are back')
    alive('drift')

    const busy = node.path(`${CERTS_D}/busy.example.net`)
    mkdirSync(busy)
    for (let event = 0; event < STORM_EVENTS; event++) {
      appendFileSync(`${busy}/hosts.toml`, '# busy\n')
      if (event % 10 === 0) await sleep(10)
    }
    rmSync(busy, { recursive: true })
    rmSync(lastCa)
    await until(() => existsSync(lastCa), 'what was deleted in the storm is back')
    alive('storm')

    t.comment(`${seen.livez} × /livez, slowest ${Math.round(seen.slowestLivezMs)} ms; ${seen.others} pages and metrics`)
    t.equal(seen.notAlive, 0, 'alive at each question')
    t.ok(seen.others > 0, 'page and metrics were answered')
    t.ok(seen.slowestLivezMs < 1_000, `/livez within a second: ${Math.round(seen.slowestLivezMs)} ms`)
  })
else {
  const skip = isFull
    ? 'this machine has no memory controller of cgroup v1'
    : 'REGISTRY_TRUST_FULL=1 runs it, for minutes'
  t.test('lives through install, rotation, drift and a storm within its limit', { skip }, async () => undefined)
}
