// What the plan makes of configurations that import others, against the real containerd: what it says is set is set, and
// an edit sets config_path and the sandbox image for containerd and changes nothing else. REGISTRY_TRUST_FULL=1: 60 for
// each containerd.
import { writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import t, { type Test } from 'tap'
import { rehearsalConfig } from '../../../agent/containerd/config/rehearsal.ts'
import type { ContainerdFacts } from '../../../agent/model/observed-state.ts'
import type { Planned } from '../../../agent/model/plan.ts'
import type { ObservePorts } from '../../../agent/model/run-ports.ts'
import { EMPTY_STATE } from '../../../agent/model/state.ts'
import { observeWithoutRuntime } from '../../../agent/reconcile/observe/containerd.ts'
import { makePlan } from '../../../agent/reconcile/run/planning.ts'
import { dumped, type Files, importCorpus, type Loaded, layOut } from '../../fixtures/config/import-corpus.ts'
import type { Generation } from '../../fixtures/node/generations.ts'
import { eachGeneration } from '../../fixtures/node/node-tests.ts'
import { scratchNode } from '../../fixtures/scratch/carry-out.ts'
import { anchor, desired, makeCa, registry } from '../../fixtures/scratch/sample.ts'

const COUNT = process.env['REGISTRY_TRUST_FULL'] === '1' ? 60 : 12
const PAUSE = 'r.example/pause:9'
const wanted = desired({
  anchors: [anchor('a', makeCa('Corp Root'))],
  registries: [registry('harbor.example.net', 'a')],
  sandboxImage: PAUSE,
})
const { sandboxImage: _, ...withoutSandbox } = wanted

type Looked = { readonly planned: Planned; readonly facts: ContainerdFacts }

async function look(generation: Generation, config: string, what: typeof withoutSandbox): Promise<Looked> {
  const node = scratchNode('/')
  const unit = {
    ...{ name: 'containerd.service', loadState: 'loaded', mainPid: 1, environment: {} },
    execStart: [join(generation.bin, 'containerd'), '--config', config],
  }
  const ports = {
    files: node.files,
    processes: { listeningOn: async () => [] },
    systemd: { isAvailable: async () => true, unit: async () => unit },
    runner: { version: async () => generation.version },
  } as unknown as Parameters<typeof observeWithoutRuntime>[1] & ObservePorts
  const facts = await observeWithoutRuntime('containerd.service', ports)
  return { facts, planned: await makePlan({ desired: what, state: EMPTY_STATE, facts }, node) }
}

/** What the rehearsal's copy of containerd would load; undefined: it does not start. */
async function copyOf(t: Test, { planned, facts }: Looked, generation: Generation): Promise<Loaded | undefined> {
  const scratch = join(t.testdirName, 'copy')
  const files = await rehearsalConfig(planned.candidateConfig, {
    ...{ containerdVersion: facts.version, configFile: facts.configFile, imports: facts.imports },
    ...{ unloadable: facts.unloadableImports, scratch, certsDirectory: '/copy/certs.d' },
  })
  layOut(new Map(files.map(({ relativePath, bytes }) => [relativePath, bytes.toString('utf8')])), scratch)
  return dumped(generation, join(scratch, 'config.toml'))
}

const firstOf = (configPath: string) => configPath.split(':').find((one) => one !== '')

/** What the plan promises and containerd does not do; undefined: they agree, or the plan does nothing and says why. */
function difference({ plan }: Planned, before: Loaded, config: string, generation: Generation, isSandboxSet: boolean) {
  if (plan.problems.length > 0) return undefined
  const written = plan.changes.find(({ path }) => path.includes('/harbor.example.net'))?.path
  const directory = written?.replace(/\/harbor\.example\.net.*$/, '')
  const edit = plan.changes.find(({ target }) => target === 'containerd-config')
  if (edit?.after.kind === 'file') writeFileSync(config, edit.after.bytes)
  const after = edit === undefined ? before : dumped(generation, config)
  if (after === undefined) return 'containerd does not load the edited file'
  const loaded = firstOf(after.configPath)
  if (loaded === undefined || directory !== resolve(loaded)) return `${directory} is written, ${loaded} is read`
  const image = isSandboxSet ? PAUSE : before.sandboxImage
  if (after.sandboxImage !== image) return `the sandbox image is ${after.sandboxImage}, not ${image}`
  return JSON.stringify(after.rest) === JSON.stringify(before.rest) ? undefined : 'something else has changed'
}

const shown = (files: Files) => [...files].map(([name, text]) => `== ${name}\n${JSON.stringify(text)}`).join('\n')

async function compare(t: Test, generation: Generation): Promise<void> {
  const corpus = importCorpus(Number(generation.label.replace('.', '')))
  let [compared, planned] = [0, 0]
  for (let index = 0; index < COUNT; index++) {
    const folder = t.testdir({})
    const files = corpus.next(folder)
    layOut(files, folder)
    const config = join(folder, 'config.toml')
    const before = dumped(generation, config)
    const isSandboxSet = index % 2 === 1
    const looked = await look(generation, config, isSandboxSet ? wanted : withoutSandbox)
    const { problems } = looked.planned.plan
    const copy = problems.length > 0 ? undefined : await copyOf(t, looked, generation)
    const tell = (what: string) => t.fail(what, { files: shown(files), before })
    if (before === undefined && copy !== undefined) tell('the copy of the rehearsal starts, containerd does not')
    if (before === undefined) continue
    const found = difference(looked.planned, before, config, generation, isSandboxSet)
    if (found !== undefined) tell(found)
    if (problems.length === 0 && copy?.configPath !== '/copy/certs.d') tell(`the copy reads ${copy?.configPath}`)
    compared += 1
    planned += problems.length === 0 ? 1 : 0
  }
  t.ok(compared > COUNT / 4 && planned > COUNT / 10, `${compared} loaded, ${planned} planned`)
}

eachGeneration(t, 'imports are read as containerd reads them', compare, { isSample: true })
