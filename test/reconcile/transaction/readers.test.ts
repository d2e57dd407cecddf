// Another process that reads all the while never sees a half-written file, nor a hosts.toml without the CA that it
// names. A run takes every second situation; all of them three times with REGISTRY_TRUST_FULL=1.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { treeOf } from '../../fixtures/scratch/carry-out.ts'
import { layOut, scenes } from '../../fixtures/scratch/fault-scenes.ts'
import { perform, type Step } from '../../fixtures/scratch/perform.ts'
import { partOf } from '../../fixtures/turn.ts'

const ROUNDS = process.env['REGISTRY_TRUST_FULL'] === '1' ? 3 : 1

type Report = {
  readonly looks: number
  readonly broken: readonly string[]
  readonly contents: { readonly [path: string]: readonly string[] }
}

/** Starts the reader on a root; `stop` gives its report. */
async function startReader(root: string): Promise<{ stop(): Promise<Report> }> {
  const program = join(import.meta.dirname, '../../fixtures/scratch/reader-program.ts')
  const child = spawn(process.execPath, [program, root], { stdio: ['pipe', 'pipe', 'inherit'] })
  const lines = createInterface({ input: child.stdout })
  await once(lines, 'line')
  return {
    async stop() {
      const line = once(lines, 'line')
      child.stdin.end()
      return JSON.parse(String((await line)[0])) as Report
    },
  }
}

t.test('every content that a reader sees is one that was meant to be there', async (t) => {
  const root = join(t.testdir(), 'node')
  layOut(root)
  const whole = new Map<string, Set<string>>()
  /** At rest: what is there now is complete. */
  const remember = () => {
    for (const path of Object.keys(treeOf(root))) {
      // Links lead to absolute paths of the node; a reader outside sees what they lead to on this machine.
      const file = join(root, path)
      if (!existsSync(file) || !statSync(file).isFile()) continue
      const hash = createHash('sha256').update(readFileSync(file)).digest('hex')
      whole.set(path, (whole.get(path) ?? new Set()).add(hash))
    }
  }
  remember()
  const all = scenes()
  // No other one changes the content of a CA.
  const rotation = all.filter(({ name }) => name === 'rotation of a CA')
  t.equal(rotation.length, 1)
  const chosen = new Set([...partOf(all, 2), ...rotation])
  const steps: readonly Step[] = [...chosen].flatMap(({ before, act }) => [...before, act])
  const reader = await startReader(root)
  for (let round = 0; round < ROUNDS; round++)
    for (const step of steps) {
      const { outcome } = await perform(step, root)
      if (!['applied', 'unchanged', 'rolled-back'].includes(outcome)) t.fail(`${step.command}: ${outcome}`)
      remember()
    }
  const { looks, broken, contents } = await reader.stop()
  t.comment(`${looks} looks during ${ROUNDS * steps.length} transactions`)
  t.ok(looks > 100, `it looked often (${looks})`)
  t.same(broken, [])
  const torn = Object.entries(contents).flatMap(([path, hashes]) =>
    hashes.filter((hash) => whole.get(path)?.has(hash) !== true).map((hash) => `${path} ${hash}`),
  )
  t.same(torn, [])
  const changed = Object.values(contents).filter((hashes) => hashes.length > 1).length
  t.ok(changed >= 3, 'config.toml, the bundle and a CA were seen with more than one content')
})

t.test('the reader does notice a CA that comes after its hosts.toml', async (t) => {
  const root = join(t.testdir(), 'node')
  layOut(root)
  const folder = join(root, '/etc/containerd/certs.d/h')
  const reader = await startReader(root)
  for (let round = 0; round < 50; round++) {
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, 'hosts.toml'), 'ca = "ca.crt"\n[host]\n')
    await sleep(5)
    writeFileSync(join(folder, 'ca.crt'), 'CA')
    rmSync(folder, { recursive: true })
  }
  t.match(await reader.stop(), { broken: [/hosts\.toml without ca\.crt/] })
})
