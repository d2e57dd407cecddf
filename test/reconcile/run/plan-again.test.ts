// The plan of a node on which nothing has changed: how often targets are asked, and what makes them be asked again.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { nothingDesired } from '../../../agent/model/desired-state.ts'
import type { ContainerdFacts } from '../../../agent/model/observed-state.ts'
import type { LookMemory } from '../../../agent/model/run-ports.ts'
import { EMPTY_STATE } from '../../../agent/model/state.ts'
import type { Target, TargetPlan } from '../../../agent/model/target.ts'
import { nodeFiles } from '../../../agent/node/files/files.ts'
import { rememberedFiles } from '../../../agent/node/files/remembered-files.ts'
import { planLook } from '../../../agent/reconcile/run/planning.ts'

const NOTHING: TargetPlan = { changes: [], problems: [] }
const CHANGE = {
  target: 'crictl',
  action: 'delete',
  path: '/etc/a',
  reason: '',
  subject: '',
  folder: '/etc',
  after: { kind: 'absent' },
  owns: [],
  forgets: [],
} as const

t.test('asks the targets again only when something that they read has changed', async (t) => {
  const root = t.testdir({ etc: { a: 'one' } })
  const real = nodeFiles({ root })
  const files = rememberedFiles(real, { root, now: () => Date.now() + 5_000 })
  let [observed, plan] = [0, NOTHING]
  const target: Target = {
    names: ['crictl'],
    servesHosts: [],
    isReadByContainerd: false,
    watches: () => [],
    needs: () => [],
    async observe(_input, ports) {
      observed += 1
      await ports.files.list('/etc')
      return await ports.files.read('/etc/a')
    },
    plan: () => plan,
  }
  const memory: LookMemory = { files, last: { unchanged: undefined } }
  const request = {
    desired: { ...nothingDesired(undefined), generation: 'g' },
    state: EMPTY_STATE,
    facts: { version: '2.1.0' } as unknown as ContainerdFacts,
  }
  const store = { backup: async () => Buffer.alloc(0) }
  const look = async (changed: Partial<typeof request> = {}) => {
    await planLook({ ...request, ...changed }, { files: real, store, targets: [target], memory })
    return observed
  }
  t.equal(await look(), 1)
  t.equal(await look(), 1, 'nothing changed')
  t.equal(await look({ facts: { version: '2.1.0' } as unknown as ContainerdFacts }), 1, 'the same facts, told again')
  writeFileSync(join(root, 'etc/a'), 'two')
  t.equal(await look(), 2, 'a file changed')
  writeFileSync(join(root, 'etc/b'), '')
  t.equal(await look(), 3, 'a folder changed')
  t.equal(await look({ facts: { version: '2.1.1' } as unknown as ContainerdFacts }), 4, 'containerd changed')
  t.equal(await look({ state: { ...EMPTY_STATE, owned: {} } }), 5, 'what the agent owns changed')
  plan = { changes: [CHANGE], problems: [] }
  writeFileSync(join(root, 'etc/a'), 'three')
  t.equal(await look(), 6)
  t.equal(await look(), 7, 'a plan that has something to do is made anew')
})
